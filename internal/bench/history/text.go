package history

import (
	"math/rand/v2"
	"strings"
)

// Words are so many, the frequency of each inverse to its rank, as Zipf found.
const wordCount = 40_000

// frequentWords are the first ones; the rest are made of syllables.
var frequentWords = strings.Fields(`
order price ticket delivery appointment room table parcel refund account invoice tour breakfast menu size colour
warranty battery password address payment card family garden museum museum's exhibition concert train flight hotel
parking entrance student teacher lesson exam course library holiday insurance contract doctor medicine clinic visit
kitchen bicycle helmet tent jacket boots camera printer laptop screen cable charger software update licence email
phone number discount voucher gift birthday wedding party wine coffee tea cake bread cheese vegetarian allergy
children dog cat weather snow rain summer winter weekend morning afternoon evening monday friday saturday sunday
january march june october repair service technician heating water electricity gas solar roof window door lock key
carpet lamp chair sofa mattress shelf paint hammer screwdriver engine tyre brake oil navigation rental station bus
ferry harbour beach mountain river castle church theatre cinema football tennis swimming sauna gym yoga`)

// Word is the word of a rank, from 0: the most frequent is the first.
func Word(rank int) string { return word(rank) }

func word(rank int) string {
	if rank < len(frequentWords) {
		return frequentWords[rank]
	}
	const consonants, vowels = "bdfgklmnprstvz", "aeiou"
	var b strings.Builder
	for n := rank; n > 0 || b.Len() < 4; n /= len(consonants) * len(vowels) {
		b.WriteByte(consonants[n%len(consonants)])
		b.WriteByte(vowels[n/len(consonants)%len(vowels)])
	}
	b.WriteByte("nrlx"[rank%4])
	return b.String()
}

// language has the words, and draws them as often as they are used.
type language struct {
	words [wordCount]string
	urn   [1 << 20]uint16
}

func newLanguage() *language {
	l := &language{}
	total := 0.0
	for rank := range l.words {
		l.words[rank] = word(rank)
		total += 1 / float64(rank+3)
	}
	filled, sum := 0, 0.0
	for rank := range l.words {
		sum += 1 / float64(rank+3)
		for upTo := int(sum / total * float64(len(l.urn))); filled < upTo; filled++ {
			l.urn[filled] = uint16(rank)
		}
	}
	for ; filled < len(l.urn); filled++ {
		l.urn[filled] = wordCount - 1
	}
	return l
}

func (l *language) draw(rng *rand.Rand) string { return l.words[l.urn[rng.Uint32N(1<<20)]] }

// What is said; each % is a word. Phrase is in one of them.
var (
	greetings = []string{
		"Hello, how can I help you today?", "Hi there! What can I do for you?", "Good to see you. Ask me about % or %.",
	}
	questions = []string{
		"What are your opening hours for the % on %?", "How much is the % with %?", "Do you have a % for %?",
		"I am looking for a % and a %.", "Can I change my % to %?", "Where do I find the %?", "Is there % near the %?",
		"Yes, please.", "No, thanks, only the %.", "And what about %?", "Could you tell me more about the %?",
		"My % does not work since I bought the %.", "I would like to book a % for %.", "That sounds great, thank you!",
		"Which % do you recommend, with % or with %?", "How long does the % take?", "Thank you, that helps a lot.",
		"I need the % before %, is that possible?", "Please send the % to my %.", "I have lost my %.",
	}
	complaints = []string{
		"This is terrible, the % is broken again.", "I am really angry about the %.", "I am so frustrated with this %.",
		"What an awful %, I hate it.",
	}
	answers = []string{
		"The % is open every day, and the % only on %.", "With % it costs a little more, but the % is included.",
		"Of course. I have put the % on your %; you will get a mail with the %.", "Let me look that up. Your % is ready, and the % follows on %.",
		"I would take the %: it goes well with %, and many of our guests like the %.", "You find it next to the %, behind the %.",
		"I am sorry about that. Please switch the % off and hold the % for ten seconds.", "Gladly. For how many people, and with which %?",
		"Yes, we have % and %. Shall I reserve the %?", "No, I am afraid there is no % left, but the % is just as good.",
		"It takes about two days, or one with %.", "I have changed your % to %. Is there anything else?",
		"For the % we ask for a % of ten euros, which you get back with the %.", "You are welcome! Enjoy the %.",
	}
)

// Phrase is said now and then, as these words one after the other.
const Phrase = "opening hours"

// say fills one of the texts with words.
func (l *language) say(rng *rand.Rand, texts []string) string {
	text := texts[rng.IntN(len(texts))]
	var b strings.Builder
	b.Grow(len(text) + 32)
	for {
		before, behind, more := strings.Cut(text, "%")
		b.WriteString(before)
		if !more {
			return b.String()
		}
		b.WriteString(l.draw(rng))
		text = behind
	}
}
