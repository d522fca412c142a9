package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestFlagsComeFromTheNearestProject(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"options":   {"runtime:\n  name: nodejs\n  options: {typescript: false, nodeargs: \"--import tsx\"}\n", []string{"-typescript=false", "-nodeargs=--import tsx"}},
		"tsconfig":  {"runtime: {name: nodejs, options: {tsconfig: a.json}}", []string{"-tsconfig=a.json"}},
		"bare name": {"runtime: nodejs\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			if err := os.WriteFile(filepath.Join(folder, "Pulumi.yaml"), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			inner := filepath.Join(folder, "inner")
			if err := os.Mkdir(inner, 0o700); err != nil {
				t.Fatal(err)
			}
			got, err := flagsFor(inner)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("flags %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestNoProject(t *testing.T) {
	if got, err := flagsFor(t.TempDir()); err != nil || got != nil {
		t.Errorf("flags %q, %v; want none", got, err)
	}
}

func TestUnreadableProject(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "Pulumi.yaml"), []byte("runtime: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := flagsFor(folder); err == nil {
		t.Error("a broken Pulumi.yaml was taken")
	}
}
