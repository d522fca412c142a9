package remote

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/infer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/archive"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/asset"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s has %d bytes, %v; want %d", path, len(got), err, len(want))
	}
}

func fileAsset(t *testing.T, path string) types.AssetOrArchive {
	t.Helper()
	made, err := asset.FromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	return types.AssetOrArchive{Asset: made}
}

func folderArchive(t *testing.T, path string) types.AssetOrArchive {
	t.Helper()
	made, err := archive.FromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	return types.AssetOrArchive{Archive: made}
}

func copyInputs(t *testing.T, source types.AssetOrArchive, remotePath string) CopyInputs {
	t.Helper()
	login := newKey(t)
	jump, server := startSSHD(t, login), startSSHD(t, login)
	connection := &Connection{Endpoint: server.endpoint(login), Proxy: &Proxy{jump.endpoint(login)}}
	return CopyInputs{Connection: connection, Source: source, RemotePath: remotePath}
}

func copyTo(t *testing.T, source types.AssetOrArchive, remotePath string) error {
	t.Helper()
	_, err := (&CopyToRemote{}).Create(context.Background(), infer.CreateRequest[CopyInputs]{
		Name: "test", Inputs: copyInputs(t, source, remotePath),
	})
	return err
}

func TestCopiesAFile(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	big := strings.Repeat("0123456789abcdef", 200_000)
	write(t, filepath.Join(from, "release.tar"), big)
	source := fileAsset(t, filepath.Join(from, "release.tar"))
	target := filepath.Join(to, "made", "on the way", "1.tar")
	for range 2 {
		if err := copyTo(t, source, target); err != nil {
			t.Fatal(err)
		}
		wantFile(t, target, big)
	}
	if err := copyTo(t, source, to); err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(to, "release.tar"), big)
}

func TestCopiesOverALongerFile(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "a"), "short")
	write(t, filepath.Join(to, "a"), "much longer")
	if err := copyTo(t, fileAsset(t, filepath.Join(from, "a")), filepath.Join(to, "a")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(to, "a"), "short")
}

func TestCopiesADirectory(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "tree", "a"), "one")
	write(t, filepath.Join(from, "tree", "deep", "b"), "two")
	if err := copyTo(t, folderArchive(t, filepath.Join(from, "tree")), to); err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(to, "tree", "a"), "one")
	wantFile(t, filepath.Join(to, "tree", "deep", "b"), "two")
	if err := copyTo(t, folderArchive(t, filepath.Join(from, "tree")+"/"), filepath.Join(to, "flat")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(to, "flat", "deep", "b"), "two")
}

func TestADirectoryDoesNotReplaceAFile(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "tree", "a"), "one")
	write(t, filepath.Join(to, "tree"), "in the way")
	wantError(t, copyTo(t, folderArchive(t, filepath.Join(from, "tree")), to), "no directory")
	wantFile(t, filepath.Join(to, "tree"), "in the way")
}

func TestCopiesAText(t *testing.T) {
	to := t.TempDir()
	text, err := asset.FromText("a text")
	if err != nil {
		t.Fatal(err)
	}
	if err := copyTo(t, types.AssetOrArchive{Asset: text}, filepath.Join(to, "text")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(to, "text"), "a text")
	wantError(t, copyTo(t, types.AssetOrArchive{Asset: text}, to), "is a directory")
}

func TestAnUpdateCopiesOnlyWhatChanged(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "a"), "one")
	inputs := copyInputs(t, fileAsset(t, filepath.Join(from, "a")), filepath.Join(to, "a"))
	update := func(news CopyInputs) {
		t.Helper()
		_, err := (&CopyToRemote{}).Update(context.Background(), infer.UpdateRequest[CopyInputs, CopyOutputs]{
			State: CopyOutputs{inputs}, Inputs: news,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	update(inputs)
	if _, err := os.Stat(filepath.Join(to, "a")); err == nil {
		t.Error("an unchanged file was copied")
	}
	write(t, filepath.Join(from, "a"), "two")
	changed := inputs
	changed.Source = fileAsset(t, filepath.Join(from, "a"))
	update(changed)
	wantFile(t, filepath.Join(to, "a"), "two")
}

func TestAMissingSource(t *testing.T) {
	gone := types.AssetOrArchive{Asset: &asset.Asset{Path: filepath.Join(t.TempDir(), "gone")}}
	wantError(t, copyTo(t, gone, t.TempDir()), "source", "gone")
}
