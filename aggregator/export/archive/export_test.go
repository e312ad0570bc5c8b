package archive

import (
	"time"

	"rapport/store"
)

// SetBounds makes blocks smaller.
func (f *Follower) SetBounds(bounds store.BlockBounds) { f.bounds = bounds }

// Sweep has it look with the next step what lies in the bucket.
func (f *Follower) Sweep() { f.swept = time.Time{} }

// SetPatience is how long a bucket may take.
func (b *Bucket) SetPatience(d time.Duration) { b.requestTimeout, b.objectTimeout = d, d }

// Escaped is how a name has a text.
var Escaped = escaped
