package stream_test

import (
	"slices"
	"strings"
	"testing"

	"rapport/aggregator/export/stream"
	"rapport/internal/guard"
	"rapport/store"
)

func TestAStreamIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	c, err := stream.Parse("lake-2=kinesis://Avatar_Events.x?region=eu-west-1#agent=A%2C80&agent=b&type=chat.push&from=12")
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "lake-2" || c.URL.Host != "Avatar_Events.x" || !slices.Equal(c.Agents, []string{"A,80", "b"}) ||
		!slices.Equal(c.Types, []string{"chat.push"}) || c.Start != (store.StreamStart{Position: 12}) || c.IsHTTP() {
		t.Errorf("%+v", c)
	}
	c, err = stream.Parse("crm=https://u:p@crm.example:8443/in/secret?a=b#x=y")
	if err == nil || !strings.Contains(err.Error(), `no option "x"`) {
		t.Error(err)
	}
	c, err = stream.Parse("crm=https://u:p@crm.example:8443/in/secret?a=b")
	if err != nil || c.Destination() != "https://crm.example:8443" || c.URL.String() != "https://u:p@crm.example:8443/in/secret?a=b" || !c.Start.AtHead {
		t.Errorf("%v, %+v", err, c)
	}
}

func TestAStreamThatIsWrongIsRefusedAndRepeatsNoSecret(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"":                                        "NAME=URL",
		"https://u:hush@x":                        "NAME=URL",
		"Crm=https://u:hush@x":                    "NAME=URL",
		strings.Repeat("x", 41) + "=https://x":    "NAME=URL",
		"crm=hush":                                "can't be read",
		"crm=https:///hush":                       "can't be read",
		"crm=https://%zz/hush":                    "can't be read",
		"crm=ftp://hush":                          `"ftp"`,
		"crm=https://hush#from=yesterday":         "beginning",
		"crm=https://hush#from=-1":                "beginning",
		"crm=https://hush#agent=":                 "agent is empty",
		"crm=https://hush#agents=a":               `"agents"`,
		"crm=https://hush#%zz":                    "can't be read",
		"lake=kinesis://hush?regoin=eu-west-1":    `"regoin"`,
		"lake=kinesis://u:hush@x?region=eu":       "credentials",
		"lake=kinesis://x/y?region=eu":            "stream-name",
		"lake=kinesis://x?max_record_bytes=1":     "max_record_bytes",
		"lake=kinesis://x?region=eu#secret=whsec": `"secret"`,
	} {
		c, err := stream.Parse(text)
		if err == nil {
			_, err = stream.Open(t.Context(), c, "secret", new(guard.Guard))
		}
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "whsec") {
			t.Errorf("%s: %v, want %s", text, err, says)
		}
	}
	c, err := stream.Parse("crm=https://x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Open(t.Context(), c, "", new(guard.Guard)); err == nil || !strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}
