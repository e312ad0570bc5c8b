// Package deploy has what Rapport is deployed with; its test reads it as the
// tools do.
package deploy

import (
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// secrets are those without which nothing starts.
var secrets = []string{
	"POSTGRES_PASSWORD=owner", "RAPPORT_SERVER_PASSWORD=server", "RAPPORT_WEBHOOK_TOKEN=token",
	"RAPPORT_WEBHOOK_SECRET=secret", "RAPPORT_API_TOKEN=api", "RAPPORT_READER_PASSWORD=reader", "RAPPORT_SQL_PASSWORD=sql",
	"GRAFANA_PASSWORD=grafana",
}

func load(t *testing.T, env []string, profiles ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../docker-compose.yml"}, cli.WithEnv(env), cli.WithProfiles(profiles))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(t.Context())
}

func mustLoad(t *testing.T, profiles ...string) *types.Project {
	t.Helper()
	project, err := load(t, secrets, profiles...)
	if err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	return project
}

func TestComposeFile(t *testing.T) {
	t.Parallel()
	if names := mustLoad(t).ServiceNames(); !slices.Equal(names, []string{"grafana", "postgres", "prometheus", "rapport"}) {
		t.Errorf("it starts %q", names)
	}
	if names := mustLoad(t, "metabase").ServiceNames(); !slices.Contains(names, "metabase") {
		t.Errorf("with the profile metabase it starts %q", names)
	}
	rapport := mustLoad(t).Services["rapport"]
	if len(rapport.Volumes) != 1 || rapport.Volumes[0].Target != "/data" {
		t.Error("the spool has no volume, and the rest of the container is read-only")
	}
	for i := range secrets {
		without := append(append([]string{}, secrets[:i]...), secrets[i+1:]...)
		if _, err := load(t, without); err == nil {
			t.Errorf("it starts without %s", secrets[i])
		}
	}
}

// TestNothingIsPublishedBeyondTheMachine: it is all plain HTTP.
func TestNothingIsPublishedBeyondTheMachine(t *testing.T) {
	t.Parallel()
	for name, service := range mustLoad(t, "metabase").Services {
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s is published on %q", name, port.HostIP)
			}
		}
	}
}

// TestTheServicesAreWiredTogether: what one is told of another is so.
func TestTheServicesAreWiredTogether(t *testing.T) {
	t.Parallel()
	project := mustLoad(t, "metabase")
	told := func(service, variable string) string {
		value := project.Services[service].Environment[variable]
		if value == nil {
			t.Fatalf("%s has no %s", service, variable)
		}
		return *value
	}
	if told("grafana", "RAPPORT_READER_PASSWORD") != told("postgres", "RAPPORT_READER_PASSWORD") {
		t.Error("Grafana has another password than its role")
	}
	if link := told("rapport", "RAPPORT_SQL_DATABASE_URL"); !strings.Contains(link, ":"+told("postgres", "RAPPORT_SQL_PASSWORD")+"@postgres:5432/rapport") {
		t.Errorf("rapport runs SQL with %s", link)
	}
	if key := told("prometheus", "RAPPORT_KEY"); key != told("rapport", "RAPPORT_API_TOKEN") {
		t.Errorf("Prometheus asks with %s", key)
	}
	datasources := strings.Join(lines(t, "grafana/provisioning/datasources/rapport.yml"), "\n")
	for _, variable := range []string{"RAPPORT_POSTGRES", "RAPPORT_POSTGRES_SSLMODE", "RAPPORT_READER", "RAPPORT_READER_PASSWORD", "PROMETHEUS_URL"} {
		if told("grafana", variable) == "" || !strings.Contains(datasources, "$"+variable+"\n") {
			t.Errorf("the data sources of Grafana don't know %s", variable)
		}
	}
	if roles := strings.Join(lines(t, "postgres/10-roles.sh"), "\n"); !strings.Contains(roles, "ALTER ROLE "+told("grafana", "RAPPORT_READER")+" LOGIN") {
		t.Error("nobody makes Grafana's role")
	}
	scraped := strings.Join(lines(t, "prometheus/prometheus.yml"), "\n")
	if !strings.Contains(scraped, "targets: [rapport:8080]") || !strings.Contains(scraped, "credentials_file: /run/secrets/rapport_api_token") ||
		!strings.Contains(strings.Join(project.Services["prometheus"].Entrypoint, " "), "> /run/secrets/rapport_api_token") {
		t.Error("Prometheus scrapes somebody else, or without a key")
	}
	for _, mount := range []string{"provisioning", "dashboards"} {
		if !slices.ContainsFunc(project.Services["grafana"].Volumes, func(v types.ServiceVolumeConfig) bool {
			return strings.HasSuffix(v.Source, "deploy/grafana/"+mount) && v.Target == "/etc/grafana/"+mount && v.ReadOnly
		}) {
			t.Errorf("Grafana lacks %s", mount)
		}
	}
}
