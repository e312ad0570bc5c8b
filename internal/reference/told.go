package reference

import "slices"

func peakParticipants(w window) int32 {
	var told []int32
	for _, e := range w {
		if e.Participants != nil {
			told = append(told, *e.Participants)
		}
	}
	if len(told) == 0 {
		return 0
	}
	return slices.Max(told)
}

func roomName(w window) string {
	for _, e := range w {
		if e.RoomName != "" {
			return e.RoomName
		}
	}
	return ""
}

func userID(w window) string {
	for _, e := range w {
		if e.UserID != "" {
			return e.UserID
		}
	}
	return ""
}

// rating is the last one that was given.
func rating(w window) *float64 {
	for _, e := range slices.Backward(w) {
		if e.Rating != nil {
			return e.Rating
		}
	}
	return nil
}

func firstPosition(w window) int64 { return slices.Min(positions(w)) }

func lastPosition(w window) int64 { return slices.Max(positions(w)) }

func positions(w window) []int64 {
	var all []int64
	for _, e := range w {
		all = append(all, e.Position)
	}
	return all
}
