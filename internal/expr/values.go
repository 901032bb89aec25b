package expr

import (
	"encoding/json"
	"math"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// jsonAdapter makes CEL values of decoded JSON, as far as a condition looks at
// them.
type jsonAdapter struct{}

// exact is up to where a float64 holds every integer.
const exact = 1 << 53

// NativeToValue implements types.Adapter.
func (a jsonAdapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case map[string]any:
		return types.NewStringInterfaceMap(a, v)
	case []any:
		return types.NewDynamicList(a, v)
	case json.Number:
		return number(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) <= exact {
			return types.Int(v)
		}
		return types.Double(v)
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

// number reads 5 and 5.0 as the same int: JSON does not tell them apart.
func number(n json.Number) ref.Val {
	if !strings.ContainsAny(string(n), ".eE") {
		if i, err := n.Int64(); err == nil {
			return types.Int(i)
		}
	}
	f, err := n.Float64()
	if err != nil {
		return types.NewErr("%s is no number", clip(string(n), 40))
	}
	if f == math.Trunc(f) && math.Abs(f) <= exact {
		return types.Int(f)
	}
	return types.Double(f)
}
