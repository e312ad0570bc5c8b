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

	"github.com/slack-go/slack"
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
	limited, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	var err error
	if d.Kind == Slack {
		err = d.sendSlack(limited, client, delivery, body)
	} else {
		err = d.sendHTTP(limited, client, delivery.ID, body)
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

func (d *Destination) sendHTTP(ctx context.Context, client *http.Client, id string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, d.Method, d.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "rapport")
	for name, values := range d.Headers {
		request.Header[textproto.CanonicalMIMEHeaderKey(name)] = values
		if strings.EqualFold(name, "Host") {
			request.Host = values[0]
		}
	}
	if err := d.sign(request.Header, id, time.Now(), body); err != nil {
		return err
	}
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

func (d *Destination) sendSlack(ctx context.Context, client *http.Client, delivery *Delivery, body []byte) error {
	message, err := slackMessage(delivery, body, d.Render != nil)
	if err != nil {
		return fmt.Errorf("%w: %s", errUnrenderable, d.shown(err))
	}
	return slackAnswered(slack.PostWebhookCustomHTTPContext(ctx, d.URL, client, message))
}
