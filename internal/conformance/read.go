package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// fields is one row of GET /sessions, numbers as their literals.
type fields map[string]any

type page struct {
	Data       []fields `json:"data"`
	NextCursor *string  `json:"next_cursor"`
	HasMore    bool     `json:"has_more"`
}

// readSessions reads every page of GET /sessions, from rollups that contain the
// position.
func (c checker) readSessions(ctx context.Context, minPosition int64) ([]fields, error) {
	query := url.Values{
		"limit":        {"1000"},
		"min_position": {strconv.FormatInt(minPosition, 10)},
		"wait":         {"60s"},
	}
	var rows []fields
	for {
		p, err := c.readPage(ctx, query)
		if err != nil {
			return nil, fmt.Errorf("GET /sessions?%s: %w", query.Encode(), err)
		}
		rows = append(rows, p.Data...)
		if !p.HasMore {
			return rows, nil
		}
		query.Set("cursor", *p.NextCursor)
	}
}

func (c checker) readPage(ctx context.Context, query url.Values) (page, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.baseURL+"/sessions?"+query.Encode(), nil)
	if err != nil {
		return page{}, err
	}
	if c.opts.APIToken != "" {
		request.Header.Set("Authorization", "Bearer "+c.opts.APIToken)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return page{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		return page{}, fmt.Errorf("%s: %s", response.Status, body)
	}
	return decodePage(response.Body)
}

func decodePage(body io.Reader) (page, error) {
	var p page
	decoder := json.NewDecoder(body)
	decoder.UseNumber()
	if err := decoder.Decode(&p); err != nil {
		return page{}, err
	}
	switch hasCursor := p.NextCursor != nil; {
	case p.HasMore != hasCursor:
		return page{}, fmt.Errorf("has_more is %v, with a next_cursor: %v", p.HasMore, hasCursor)
	case p.HasMore && len(p.Data) == 0:
		return page{}, errors.New("a page without rows has more behind it")
	}
	return p, nil
}
