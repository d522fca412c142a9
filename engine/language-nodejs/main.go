// pulumi-language-nodejs starts Pulumi's language host with the options in Pulumi.yaml. Today's CLI hands them to the
// host over gRPC, but the last host that a Go module serves only knows them as flags.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"gopkg.in/yaml.v3"
)

type project struct {
	Runtime runtime `yaml:"runtime"`
}

type runtime struct {
	Options struct {
		Typescript *bool  `yaml:"typescript"`
		Tsconfig   string `yaml:"tsconfig"`
		Nodeargs   string `yaml:"nodeargs"`
	} `yaml:"options"`
}

// UnmarshalYAML takes a bare name too: "runtime: nodejs".
func (r *runtime) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		return nil
	}
	type plain runtime
	return node.Decode((*plain)(r))
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-language-nodejs:", err)
		os.Exit(1)
	}
}

func run() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	folder, err := os.Getwd()
	if err != nil {
		return err
	}
	flags, err := flagsFor(folder)
	if err != nil {
		return err
	}
	host := filepath.Join(filepath.Dir(self), "..", "libexec", "pulumi-language-nodejs")
	arguments := append(append([]string{host}, flags...), os.Args[1:]...)
	return fmt.Errorf("%s: %w", host, syscall.Exec(host, arguments, os.Environ()))
}

// flagsFor returns the flags for the project that folder is in; none if there is no project, as for "pulumi about".
func flagsFor(folder string) ([]string, error) {
	for ; ; folder = filepath.Dir(folder) {
		path := filepath.Join(folder, "Pulumi.yaml")
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			if folder == filepath.Dir(folder) {
				return nil, nil
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		var read project
		if err := yaml.Unmarshal(text, &read); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return read.flags(), nil
	}
}

func (p project) flags() (flags []string) {
	options := p.Runtime.Options
	if options.Typescript != nil {
		flags = append(flags, fmt.Sprintf("-typescript=%t", *options.Typescript))
	}
	if options.Tsconfig != "" {
		flags = append(flags, "-tsconfig="+options.Tsconfig)
	}
	if options.Nodeargs != "" {
		flags = append(flags, "-nodeargs="+options.Nodeargs)
	}
	return flags
}
