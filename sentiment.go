package rapport

// Sentiment is the sentiment of a text as the fold counts it: the VADER compound in
// thousandths, −1000…1000, rounded half away from zero.
func Sentiment(text string) int64 { return sentiment(text) }
