package expr

import (
	"fmt"

	"github.com/maypok86/otter/v2"
)

// Cache keeps compiled conditions by their source. It is safe for concurrent
// use.
type Cache struct {
	compiled *otter.Cache[string, *Condition]
}

// NewCache returns a cache of at most size conditions.
func NewCache(size int) (*Cache, error) {
	compiled, err := otter.New(&otter.Options[string, *Condition]{MaximumSize: size})
	if err != nil {
		return nil, fmt.Errorf("expr.NewCache: %w", err)
	}
	return &Cache{compiled}, nil
}

// Get returns the condition of a source; errors are those of Compile, and are
// not kept.
func (c *Cache) Get(source string) (*Condition, error) {
	if found, ok := c.compiled.GetIfPresent(source); ok {
		return found, nil
	}
	made, err := Compile(source)
	if err != nil {
		return nil, err
	}
	c.compiled.Set(source, made)
	return made, nil
}
