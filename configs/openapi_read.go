package configs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/oasdiff/yaml"
)

// readDescription reads what an entry is made of: who the API is, where it is,
// how it knows callers, and its operations without their schemas. Only in these
// a reference must lead somewhere, and into the same file.
func readDescription(doc []byte) (d *openapi3.T, err error) {
	defer func() {
		if v := recover(); v != nil { // the libraries meet files that nobody has checked
			d, err = nil, fmt.Errorf("is no OpenAPI description that can be read: %v", v)
		}
	}()
	if len(doc) > MaxDescription {
		return nil, errors.New("is larger than 16 MiB")
	}
	tree, err := descriptionTree(doc)
	if err != nil {
		return nil, err
	}
	version := fmt.Sprint(tree["openapi"])
	switch swagger := fmt.Sprint(tree["swagger"]); {
	case tree["openapi"] != nil && strings.HasPrefix(version, "3"):
		d, err = readOpenAPI3(tree)
	case tree["swagger"] != nil && strings.HasPrefix(swagger, "2"):
		d, err = readSwagger2(tree)
	case tree["openapi"] != nil:
		err = fmt.Errorf("is of OpenAPI %s; 3.0, 3.1, 3.2 and Swagger 2.0 can be read", line(version))
	default:
		err = errors.New("is no OpenAPI description: it says neither openapi nor swagger")
	}
	if err != nil && strings.Contains(err.Error(), "external reference") {
		err = fmt.Errorf("%w; other files are not read, so make one of them first, for example with: redocly bundle", err)
	}
	return d, err
}

// descriptionTree parses JSON or YAML.
func descriptionTree(doc []byte) (map[string]any, error) {
	doc = bytes.TrimPrefix(doc, []byte("\ufeff"))
	var tree map[string]any
	if json.Unmarshal(doc, &tree) == nil && tree != nil {
		return tree, nil
	}
	if _, err := yaml.Unmarshal(doc, &tree, yaml.DecodeOpts{DisableTimestamps: true}); err != nil || tree == nil {
		return nil, errors.New(line(fmt.Sprintf("is neither JSON nor YAML with an object: %v", err)))
	}
	return tree, nil
}

func readOpenAPI3(tree map[string]any) (*openapi3.T, error) {
	kept := keep(tree, "servers", "security")
	kept["openapi"], kept["info"], kept["paths"] = "3.0.3", information(tree), operations(tree)
	components := keep(object(tree["components"]), "securitySchemes")
	components["parameters"] = each(object(object(tree["components"])["parameters"]), parameter)
	components["pathItems"] = each(object(object(tree["components"])["pathItems"]), operation)
	kept["components"] = components
	data, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	return openapi3.NewLoader().LoadFromData(data) // external references are off
}

func readSwagger2(tree map[string]any) (*openapi3.T, error) {
	kept := keep(tree, "host", "basePath", "schemes", "securityDefinitions", "security")
	kept["swagger"], kept["info"], kept["paths"] = "2.0", information(tree), operations(tree)
	kept["parameters"] = each(object(tree["parameters"]), parameter)
	data, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	var d openapi2.T
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, err
	}
	return openapi2conv.ToV3(&d)
}

// object gives v where it is an object; else an empty one.
func object(v any) map[string]any {
	m, ok := v.(map[string]any)
	if !ok {
		return map[string]any{}
	}
	return m
}

func keep(m map[string]any, names ...string) map[string]any {
	kept := map[string]any{}
	for _, name := range names {
		if v, ok := m[name]; ok && v != nil {
			kept[name] = v
		}
	}
	return kept
}

// each gives the objects in m as f makes them.
func each(m map[string]any, f func(map[string]any) map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range m {
		out[name] = f(object(v))
	}
	return out
}

// information gives the title and the version, unless YAML took it for a number.
func information(tree map[string]any) map[string]any {
	info := object(tree["info"])
	title, _ := info["title"].(string)
	version, _ := info["version"].(string)
	return map[string]any{"title": title, "version": version}
}

// methods of a path item.
var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}

func operations(tree map[string]any) map[string]any {
	out := map[string]any{}
	for path, v := range object(tree["paths"]) {
		if strings.HasPrefix(path, "/") {
			out[path] = operation(object(v))
		}
	}
	return out
}

// operation gives a path item without what its operations take and answer.
func operation(item map[string]any) map[string]any {
	out := keep(item, "$ref", "servers")
	out["parameters"] = parameters(item["parameters"])
	for _, method := range methods {
		if op, ok := item[method].(map[string]any); ok {
			kept := keep(op, "operationId", "deprecated", "security", "servers")
			kept["parameters"] = parameters(op["parameters"])
			kept["responses"] = map[string]any{"default": map[string]any{"description": ""}}
			out[method] = kept
		}
	}
	return out
}

func parameters(v any) []any {
	out := []any{}
	all, _ := v.([]any)
	for _, p := range all {
		out = append(out, parameter(object(p)))
	}
	return out
}

func parameter(p map[string]any) map[string]any { return keep(p, "$ref", "name", "in", "required") }
