package deliver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slack-go/slack"
)

// What Slack takes of a block (https://api.slack.com/reference/block-kit/blocks).
const (
	maxSlackHeader  = 150 // characters
	maxSlackSection = 3000
	maxSlackField   = 2000
	maxSlackFields  = 10 // of a section
	maxSlackValues  = 20 // that we show
)

// slackMessage makes the message of what is to be told: what a template made is one in
// JSON, which is sent as it is, or a text; data are shown in a plain layout.
func slackMessage(delivery *Delivery, body []byte, isRendered bool) ([]byte, error) {
	if !isRendered {
		return json.Marshal(plainMessage(delivery, body))
	}
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return json.Marshal(textMessage(string(trimmed)))
	}
	if json.Unmarshal(trimmed, new(slack.WebhookMessage)) != nil {
		return nil, errors.New("it is no message of Slack's in JSON")
	}
	return trimmed, nil
}

func textMessage(text string) *slack.WebhookMessage {
	return &slack.WebhookMessage{
		Text:   escapeSlack(text),
		Blocks: &slack.Blocks{BlockSet: []slack.Block{slack.NewSectionBlock(plainText(text, maxSlackSection), nil, nil)}},
	}
}

// plainMessage has the rule as its heading, and the data's values as fields. All of it is
// plain text: what a visitor wrote must not call a channel, or look like a link.
func plainMessage(delivery *Delivery, data []byte) *slack.WebhookMessage {
	values := make(map[string]string)
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var decoded any
	if decoder.Decode(&decoded) == nil {
		flatten("", decoded, values)
	}
	blocks := []slack.Block{slack.NewHeaderBlock(plainText(delivery.Rule, maxSlackHeader))}
	names := slices.Sorted(maps.Keys(values))
	for some := range slices.Chunk(names[:min(len(names), maxSlackValues)], maxSlackFields) {
		var fields []*slack.TextBlockObject
		for _, name := range some {
			fields = append(fields, plainText(name+": "+values[name], maxSlackField))
		}
		blocks = append(blocks, slack.NewSectionBlock(nil, fields, nil))
	}
	blocks = append(blocks, slack.NewContextBlock("", plainText(delivery.ID, maxSlackField)))
	return &slack.WebhookMessage{Text: escapeSlack(delivery.Rule), Blocks: &slack.Blocks{BlockSet: blocks}}
}

// flatten gathers what isn't empty under names such as session.agent_id.
func flatten(name string, value any, into map[string]string) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			flatten(strings.TrimPrefix(name+"."+key, "."), inner, into)
		}
	case []any:
		if text, err := json.Marshal(value); err == nil && len(value) > 0 {
			into[name] = string(text)
		}
	case nil:
	default:
		if text := fmt.Sprint(value); text != "" {
			into[name] = text
		}
	}
}

func plainText(text string, longest int) *slack.TextBlockObject {
	if text == "" {
		text = "-" // Slack refuses an empty one
	}
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest-1]) + "…"
	}
	return slack.NewTextBlockObject(slack.PlainTextType, text, false, false)
}

// escapeSlack is for texts that Slack looks for links and mentions in.
func escapeSlack(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}
