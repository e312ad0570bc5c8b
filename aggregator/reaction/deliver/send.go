package deliver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// errUnrenderable says that no request can be made of the data. To try it again is no use.
var errUnrenderable = errors.New("no request can be made of it")

// send tells the destination once. Its error is a *sendError, one that is
// errUnrenderable, or the context's where that was cancelled.
func (d *Destination) send(ctx context.Context, client *http.Client, delivery *Delivery) error {
	body := []byte(delivery.Body)
	if d.Render != nil {
		rendered, err := d.render(delivery.Body)
		if err != nil {
			return err
		}
		body = rendered
	}
	header, method := d.Headers, d.Method
	if d.Kind == Slack {
		message, err := slackMessage(delivery, body, d.Render != nil)
		if err != nil {
			return fmt.Errorf("%w: %s", errUnrenderable, d.shown(err))
		}
		body, header, method = message, nil, http.MethodPost
	}
	limited, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(limited, method, d.URL, bytes.NewReader(body))
	if err == nil {
		setHeaders(request, header)
		if d.Kind == HTTP {
			err = d.sign(request.Header, delivery.ID, time.Now(), body)
		}
	}
	if err == nil {
		err = exchange(client, request)
	}
	var known *sendError
	switch {
	case err == nil, errors.As(err, &known), errors.Is(err, errUnrenderable):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return d.unsent(err)
}

// render calls Render, which may be as wrong as whoever has written the template.
func (d *Destination) render(data json.RawMessage) (body []byte, err error) {
	defer func() {
		if value := recover(); value != nil {
			body, err = nil, fmt.Errorf("%w: its template panicked", errUnrenderable)
		}
	}()
	body, err = d.Render(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", errUnrenderable, d.shown(err))
	}
	return body, nil
}

func setHeaders(request *http.Request, of http.Header) {
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "rapport")
	for name, values := range of {
		request.Header[textproto.CanonicalMIMEHeaderKey(name)] = values
		if strings.EqualFold(name, "Host") {
			request.Host = values[0]
		}
	}
}

// exchange sends a request. What the answer has besides its head is of no interest.
func exchange(client *http.Client, request *http.Request) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
	return answered(response.StatusCode, response.Header)
}

// sign sets the headers of Standard Webhooks.
func (d *Destination) sign(header http.Header, id string, at time.Time, body []byte) error {
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	header.Del(standardwebhooks.HeaderWebhookSignature)
	var signatures []string
	for _, secret := range d.Secrets {
		key, err := signingKey(secret)
		if err != nil {
			return err
		}
		signature, err := key.Sign(id, at, body)
		if err != nil {
			return err
		}
		signatures = append(signatures, signature)
	}
	if len(signatures) > 0 {
		header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	}
	return nil
}

// signingKey reads a secret as Rapport's own webhooks do.
func signingKey(secret string) (*standardwebhooks.Webhook, error) {
	if strings.HasPrefix(secret, "whsec_") && secret != "whsec_" {
		if key, err := standardwebhooks.NewWebhook(secret); err == nil {
			return key, nil
		}
	}
	return standardwebhooks.NewWebhookRaw([]byte(secret))
}
