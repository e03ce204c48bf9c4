// Copyright The WebhookDelivery Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// TestQueries parses every query of the alerts, the dashboard and the runbooks, and holds the metrics and labels in it
// against docs/metrics.md, which a test of the running manager holds against what it serves.
func TestQueries(t *testing.T) {
	known := documented(t)
	for where, queries := range map[string][]string{
		"alerts": alerts(t), "dashboard": dashboard(t), "runbooks": runbooks(t),
	} {
		if len(queries) < 5 {
			t.Errorf("%s: only %d queries found", where, len(queries))
		}
		for _, query := range queries {
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(variables.Replace(query))
			if err != nil {
				t.Errorf("%s: %s: %v", where, query, err)
				continue
			}
			parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
				if selector, ok := node.(*parser.VectorSelector); ok {
					for _, problem := range known.problems(selector) {
						t.Errorf("%s: %s: %s", where, query, problem)
					}
				}
				return nil
			})
		}
	}
}

// variables are what Grafana puts in.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*")

func alerts(t *testing.T) (queries []string) {
	_, rules := spec(t)
	for _, r := range rules {
		queries = append(queries, r.Expr)
	}
	return queries
}

func dashboard(t *testing.T) []string {
	t.Helper()
	var board any
	parse(t, filepath.Join(root, "config", "prometheus", "dashboard.json"), &board)
	return below(board)
}

// below returns the queries of a part of the dashboard, wherever they stand.
func below(node any) (queries []string) {
	switch node := node.(type) {
	case []any:
		for _, child := range node {
			queries = append(queries, below(child)...)
		}
	case map[string]any:
		for key, child := range node {
			switch text, isText := child.(string); {
			case isText && key == "expr":
				queries = append(queries, text)
			case isText && key == "query" && strings.HasPrefix(text, "label_values("):
				metric, _, _ := strings.Cut(strings.TrimPrefix(text, "label_values("), ",")
				queries = append(queries, metric)
			default:
				queries = append(queries, below(child)...)
			}
		}
	}
	return queries
}

var promqlBlock = regexp.MustCompile("(?ms)^```promql\n(.*?)^```$")

func runbooks(t *testing.T) (queries []string) {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(root, "docs", "runbooks", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range promqlBlock.FindAllStringSubmatch(string(text), -1) {
			for query := range strings.Lines(block[1]) {
				queries = append(queries, strings.TrimSpace(query))
			}
		}
	}
	return queries
}

// vocabulary is the values of each label of each metric; nil where they are not closed.
type vocabulary map[string]map[string][]string

// targetLabels are on every metric: Prometheus adds them.
var targetLabels = []string{model.MetricNameLabel, "namespace", "job", "pod"}

// problems says what a selector names that does not exist.
func (v vocabulary) problems(selector *parser.VectorSelector) (problems []string) {
	name := selector.Name
	known, ok := v[name]
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if !ok {
			known, ok = v[strings.TrimSuffix(name, suffix)]
		}
	}
	if !ok {
		return []string{"docs/metrics.md has no metric " + name}
	}
	for _, matcher := range selector.LabelMatchers {
		values, ok := known[matcher.Name]
		switch {
		case slices.Contains(targetLabels, matcher.Name):
		case !ok:
			problems = append(problems, name+" has no label "+matcher.Name)
		case values == nil:
		case matcher.Type == labels.MatchEqual || matcher.Type == labels.MatchNotEqual:
			if !slices.Contains(values, matcher.Value) {
				problems = append(problems, name+": label "+matcher.Name+" is never "+matcher.Value)
			}
		default:
			for value := range strings.SplitSeq(matcher.Value, "|") {
				if !slices.Contains(values, value) {
					problems = append(problems, name+": label "+matcher.Name+" is never "+value)
				}
			}
		}
	}
	return problems
}

var quoted = regexp.MustCompile("`([^`]+)`")

// documented reads the tables of docs/metrics.md.
func documented(t *testing.T) vocabulary {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := vocabulary{"up": {}} // Prometheus's own
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		name := strings.Trim(cells[0], " `")
		known[name] = map[string][]string{}
		if len(cells) == 3 { // of a library, whose labels are named in the text
			for _, text := range quoted.FindAllStringSubmatch(cells[2], -1) {
				label, value, only := strings.Cut(text[1], "=")
				known[name][label] = nil
				if only {
					known[name][label] = []string{strings.Trim(value, `"`)}
				}
			}
			continue
		}
		for label := range strings.SplitSeq(cells[2], ";") {
			key, list, _ := strings.Cut(label, ":")
			var values []string
			for _, value := range quoted.FindAllStringSubmatch(list, -1) {
				values = append(values, value[1])
			}
			known[name][strings.Trim(key, " `")] = values
		}
	}
	return known
}
