// Package deploy has what Rapport is deployed with; its test reads it as the
// tools do.
package deploy

import (
	"errors"
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
		rapport, err := project.GetService("rapport")
		if err == nil && (len(rapport.Volumes) != 1 || rapport.Volumes[0].Target != "/data") {
			err = errors.New("the spool has no volume, and the rest of the container is read-only")
		}
		if err != nil || rapport.Environment["RAPPORT_INSECURE_HTTP"] == nil {
			return err
		}
		for _, port := range rapport.Ports {
			if port.HostIP != "127.0.0.1" {
				return errors.New("plain HTTP is published beyond this machine")
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
