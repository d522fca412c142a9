// Package npm reads interfaces from the type declarations of the npm packages, for tests that hold the plugins to them.
package npm

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Fields returns the names of an interface's own properties, in the order of the file. The file is relative to
// node_modules.
func Fields(file, name string) ([]string, error) {
	folder, err := nodeModules()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(folder, file))
	if err != nil {
		return nil, fmt.Errorf("%w: run npm ci first", err)
	}
	_, body, found := strings.Cut(string(text), "interface "+name+" {\n")
	if !found {
		return nil, fmt.Errorf("%s declares no interface %s", file, name)
	}
	first := body[:len(body)-len(strings.TrimLeft(body, " "))]
	property := regexp.MustCompile(`(?m)^` + first + `(?:readonly )?(\w+)\??:`)
	body, _, _ = strings.Cut(body, "\n"+strings.TrimSuffix(first, "    ")+"}")
	var fields []string
	for _, match := range property.FindAllStringSubmatch(body, -1) {
		fields = append(fields, match[1])
	}
	return fields, nil
}

// nodeModules is the folder above the module that is being tested.
func nodeModules() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; folder = filepath.Dir(folder) {
		candidate := filepath.Join(folder, "node_modules")
		if info, err := os.Stat(candidate); err == nil && info.IsDir() {
			return candidate, nil
		}
		if folder == filepath.Dir(folder) {
			return "", fmt.Errorf("no node_modules above the working folder: run npm ci first")
		}
	}
}
