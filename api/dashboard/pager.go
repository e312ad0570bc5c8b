package dashboard

// cursorOf is where in a list the page of a URL begins, as a parameter of the API.
func (r *Request) cursorOf() []string { return []string{"cursor", r.URL.Query().Get("cursor")} }

// pager leads through a list. Both are empty where there is nothing there.
type pager struct {
	Newest, Older string
}

func (r *Request) pagerOf(path string, next *string, pairs ...string) pager {
	p := pager{}
	if r.URL.Query().Get("cursor") != "" {
		p.Newest = r.State.Link(path, pairs...)
	}
	if next != nil {
		p.Older = r.State.Link(path, append(pairs, "cursor", *next)...)
	}
	return p
}
