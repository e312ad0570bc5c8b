// Package grafana holds the dashboards for those who test and measure them; Grafana
// itself reads the files.
package grafana

import "embed"

// Dashboards are the JSON files of the dashboards.
//
//go:embed dashboards/*.json
var Dashboards embed.FS
