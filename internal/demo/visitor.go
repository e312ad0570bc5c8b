package demo

import "fmt"

// visitor is a person as the legacy generation describes one.
type visitor struct {
	id, name, ip, userAgent, country, city string
}

var (
	visitorNames = []string{
		"Mara Lindqvist", "Tomás Rivas", "Aiko Tanabe", "Jonas Weber", "Leïla Haddad", "Piotr Zaremba", "Nora Byrne",
		"Samuel Osei", "Giulia Ferri", "Anouk de Wit", "Ravi Menon", "Elsa Halvorsen", "Yusuf Demir", "Clara Novak",
	}
	visitorPlaces = [][2]string{
		{"DE", "Leipzig"}, {"SE", "Malmö"}, {"ES", "Cádiz"}, {"FR", "Nantes"}, {"IE", "Galway"}, {"NL", "Utrecht"},
		{"IT", "Trieste"}, {"PL", "Gdynia"}, {"PT", "Braga"}, {"NO", "Bodø"}, {"AT", "Graz"},
	}
	visitorBrowsers = []string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
	}
)

// maxVisitors is how many there are: all pairs of 14 names and 11 places, which
// have no common factor.
const maxVisitors = 14 * 11

// newVisitor is the visitor of a number below maxVisitors. The addresses are of
// a range for documentation (RFC 5737).
func newVisitor(i int) visitor {
	place := visitorPlaces[i%len(visitorPlaces)]
	return visitor{
		id:        fmt.Sprintf("user_%05d", 10007+i*37),
		name:      visitorNames[i%len(visitorNames)],
		ip:        fmt.Sprintf("203.0.113.%d", 10+i),
		userAgent: visitorBrowsers[i%len(visitorBrowsers)],
		country:   place[0],
		city:      place[1],
	}
}
