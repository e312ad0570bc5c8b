package dashboard

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// assets are the files that pages load. The URL of each has a digest of what is in it,
// so that browsers keep it for good.
type assets struct {
	byURL map[string]*asset // by the last part of the URL
	urls  map[string]string // by name
}

type asset struct {
	kind string
	body []byte
}

var assetKinds = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

func loadAssets() (*assets, error) {
	all := &assets{byURL: map[string]*asset{}, urls: map[string]string{}}
	err := fs.WalkDir(staticFiles, "static", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		extension := path.Ext(file)
		if assetKinds[extension] == "" {
			return nil // a licence
		}
		body, err := staticFiles.ReadFile(file)
		if err != nil {
			return err
		}
		name := path.Base(file)
		sum := sha256.Sum256(body)
		hashed := strings.TrimSuffix(name, extension) + "-" + hex.EncodeToString(sum[:6]) + extension
		all.byURL[hashed] = &asset{assetKinds[extension], body}
		all.urls[name] = AssetsPath + hashed
		return nil
	})
	return all, err
}

// url is where an asset is, for templates.
func (a *assets) url(name string) (string, error) {
	if a.urls[name] == "" {
		return "", fmt.Errorf("there is no asset %s", name)
	}
	return a.urls[name], nil
}

// iconPath is where browsers look for an icon of pages that name none, such as those of
// the API.
const iconPath = "/favicon.ico"

func (a *assets) serveIcon(w http.ResponseWriter, _ *http.Request) {
	icon := a.byURL[path.Base(a.urls["icon.svg"])]
	header := w.Header()
	header.Set("Content-Type", icon.kind)
	header.Set("Cache-Control", "public, max-age=86400")
	header.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(icon.body) // it fails only if the client is gone
}

func (a *assets) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	file := a.byURL[path.Base(r.URL.Path)]
	if file == nil {
		header.Set("Cache-Control", "no-store") // a newer server may have it
		http.Error(w, "there is no such asset: reload the page", http.StatusNotFound)
		return
	}
	header.Set("Content-Type", file.kind)
	header.Set("Content-Length", strconv.Itoa(len(file.body)))
	header.Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(file.body) // it fails only if the client is gone
}
