package archive

import "rapport/store"

// SetBounds makes blocks smaller.
func (f *Follower) SetBounds(bounds store.BlockBounds) { f.bounds = bounds }

// Escaped is how a name has a text.
var Escaped = escaped
