package openapi

import "strings"

// prune takes out the components that nothing refers to.
func prune(doc object) {
	used := map[string]bool{}
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				visit(e)
			}
		case object:
			target, ok := v["$ref"].(string)
			if ok && !used[target] {
				used[target] = true
				visit(resolve(doc, object{"$ref": target}))
			}
			for _, e := range v {
				visit(e)
			}
		}
	}
	visit(doc["paths"])
	visit(doc["webhooks"])
	components := sub(doc, "components")
	for kind, v := range components {
		if kind == "securitySchemes" {
			continue
		}
		all, _ := v.(object)
		for name := range all {
			if !used["#/components/"+kind+"/"+name] {
				delete(all, name)
			}
		}
		if len(all) == 0 {
			delete(components, kind)
		}
	}
	if !strings.Contains(securityOf(doc), "bearer") {
		delete(components, "securitySchemes")
	}
}

// securityOf joins the names of the security schemes that operations use.
func securityOf(doc object) string {
	var names strings.Builder
	for _, p := range sub(doc, "paths") {
		item, _ := p.(object)
		for _, o := range item {
			op, _ := o.(object)
			list, _ := op["security"].([]any)
			for _, need := range list {
				m, _ := need.(object)
				for name := range m {
					names.WriteString(name + " ")
				}
			}
		}
	}
	return names.String()
}
