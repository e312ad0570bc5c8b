// Package deploy has what Rapport is deployed with; its test reads it as the
// tools do.
package deploy

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
)

func TestComposeFile(t *testing.T) {
	t.Parallel()
	secrets := []string{
		"POSTGRES_PASSWORD=owner", "RAPPORT_SERVER_PASSWORD=server", "RAPPORT_WEBHOOK_TOKEN=token",
		"RAPPORT_WEBHOOK_SECRET=secret", "RAPPORT_API_TOKEN=token",
	}
	load := func(env []string) error {
		options, err := cli.NewProjectOptions([]string{"../docker-compose.yml"}, cli.WithEnv(env))
		if err != nil {
			return err
		}
		project, err := options.LoadProject(t.Context())
		if err != nil {
			return err
		}
		for _, name := range []string{"postgres", "rapport"} {
			if _, err := project.GetService(name); err != nil {
				return err
			}
		}
		return nil
	}
	if err := load(secrets); err != nil {
		t.Errorf("docker-compose.yml: %v", err)
	}
	for i := range secrets {
		without := append(append([]string{}, secrets[:i]...), secrets[i+1:]...)
		if err := load(without); err == nil {
			t.Errorf("it starts without %s", secrets[i])
		}
	}
}
