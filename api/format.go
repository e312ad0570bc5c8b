package api

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// The formats of a list.
const (
	formatJSON   = "json"
	formatCSV    = "csv"
	formatNDJSON = "ndjson"
)

// formats are those of a list with their media types. The first is what whoever has
// no preference gets.
var formats = []struct{ name, mediaType, contentType string }{
	{formatJSON, "application/json", "application/json"},
	{formatCSV, "text/csv", "text/csv; charset=utf-8; header=present"},
	{formatNDJSON, "application/x-ndjson", "application/x-ndjson"},
}

// contentTypeOf is what Content-Type says of a format.
func contentTypeOf(format string) string {
	for _, f := range formats {
		if f.name == format {
			return f.contentType
		}
	}
	return ""
}

// formatOf is the format that Accept asks for: RFC 9110, 12.5.1. It is a 406 if none
// of ours is acceptable.
func formatOf(accept string) (string, error) {
	if strings.TrimSpace(accept) == "" {
		return formatJSON, nil
	}
	ranges := parseAccept(accept)
	best, bestQuality := "", 0.0
	for _, f := range formats {
		if quality := qualityOf(f.mediaType, ranges); quality > bestQuality {
			best, bestQuality = f.name, quality
		}
	}
	if best == "" {
		return "", newProblem(http.StatusNotAcceptable,
			"Accept allows none of application/json, text/csv and application/x-ndjson, which this list has")
	}
	return best, nil
}

// mediaRange is an element of Accept.
type mediaRange struct {
	mediaType string
	quality   float64
}

// parseAccept reads what it can: what is no media range asks for nothing.
func parseAccept(accept string) []mediaRange {
	var ranges []mediaRange
	for element := range strings.SplitSeq(accept, ",") {
		mediaType, parameters, err := mime.ParseMediaType(element)
		if err != nil {
			continue
		}
		quality := 1.0
		if text, ok := parameters["q"]; ok {
			if quality, err = strconv.ParseFloat(text, 64); err != nil {
				continue
			}
		}
		ranges = append(ranges, mediaRange{mediaType, quality})
	}
	return ranges
}

// qualityOf is what the most specific range says of a media type: 0 if none allows it.
func qualityOf(mediaType string, ranges []mediaRange) float64 {
	kind, _, _ := strings.Cut(mediaType, "/")
	for _, pattern := range []string{mediaType, kind + "/*", "*/*"} {
		for _, r := range ranges {
			if r.mediaType == pattern {
				return r.quality
			}
		}
	}
	return 0
}
