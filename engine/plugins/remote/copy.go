package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pkg/sftp"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/infer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// CopyToRemote copies a file or a directory to a machine. It neither unpacks, nor sets modes, nor removes stale files.
type CopyToRemote struct{}

// CopyInputs are the npm package's CopyToRemoteArgs.
type CopyInputs struct {
	Connection *Connection          `pulumi:"connection" provider:"secret"`
	Source     types.AssetOrArchive `pulumi:"source"`
	RemotePath string               `pulumi:"remotePath"`
	Triggers   []any                `pulumi:"triggers,optional" provider:"replaceOnChanges"`
}

// CopyOutputs are the inputs; a copy has no result.
type CopyOutputs struct {
	CopyInputs
}

// Annotate sets the official plugin's token.
func (c *CopyToRemote) Annotate(a infer.Annotator) { a.SetToken("remote", "CopyToRemote") }

// WireDependencies passes on which inputs are secret.
func (*CopyToRemote) WireDependencies(f infer.FieldSelector, in *CopyInputs, out *CopyOutputs) {
	f.OutputField(&out.Connection).DependsOn(f.InputField(&in.Connection))
	f.OutputField(&out.Source).DependsOn(f.InputField(&in.Source))
	f.OutputField(&out.RemotePath).DependsOn(f.InputField(&in.RemotePath))
	f.OutputField(&out.Triggers).DependsOn(f.InputField(&in.Triggers))
}

// Check refuses, by name, what is not supported.
func (*CopyToRemote) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[CopyInputs], error) {
	inputs, failures, err := infer.DefaultCheck[CopyInputs](ctx, req.NewInputs)
	failures = append(failures, checkConnection(req.NewInputs)...)
	asset, archive := inputs.Source.Asset, inputs.Source.Archive
	if asset != nil && !asset.IsPath() && !asset.IsText() {
		failures = append(failures, p.CheckFailure{Property: "source", Reason: "source must be a FileAsset or a StringAsset"})
	}
	if archive != nil && !archive.IsPath() {
		failures = append(failures, p.CheckFailure{Property: "source", Reason: "source must be a FileArchive"})
	}
	return infer.CheckResponse[CopyInputs]{Inputs: inputs, Failures: failures}, err
}

// Create copies the source.
func (*CopyToRemote) Create(
	ctx context.Context, req infer.CreateRequest[CopyInputs],
) (infer.CreateResponse[CopyOutputs], error) {
	id, err := resource.NewUniqueHex(req.Name, 8, 0)
	if err == nil && !req.DryRun {
		err = req.Inputs.copy(ctx)
	}
	return infer.CreateResponse[CopyOutputs]{ID: id, Output: CopyOutputs{req.Inputs}}, err
}

// Update copies again if the source or the path changed; another connection alone copies nothing.
func (*CopyToRemote) Update(
	ctx context.Context, req infer.UpdateRequest[CopyInputs, CopyOutputs],
) (infer.UpdateResponse[CopyOutputs], error) {
	var err error
	changed := req.Inputs.hash() != req.State.hash() || req.Inputs.RemotePath != req.State.RemotePath
	if changed && !req.DryRun {
		err = req.Inputs.copy(ctx)
	}
	return infer.UpdateResponse[CopyOutputs]{Output: CopyOutputs{req.Inputs}}, err
}

func (c *CopyInputs) hash() string {
	switch {
	case c.Source.Asset != nil:
		return c.Source.Asset.Hash
	case c.Source.Archive != nil:
		return c.Source.Archive.Hash
	}
	return ""
}

func (c *CopyInputs) copy(ctx context.Context) (err error) {
	connected, err := c.Connection.connect(ctx)
	if err != nil {
		return err
	}
	defer connected.close()
	defer connected.watch(ctx, keepaliveEvery)()
	stop := context.AfterFunc(ctx, connected.close)
	defer stop()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("the copy to %s was stopped: %w", c.Connection.address(), context.Cause(ctx))
		}
	}()
	// Concurrent writes are safe here: every file is one stream, and one that failed is written anew.
	session, err := sftp.NewClient(connected.Client, sftp.UseConcurrentWrites(true))
	if err != nil {
		return fmt.Errorf("%s offers no SFTP: %w", c.Connection.address(), err)
	}
	defer func() { _ = session.Close() }()

	target := copyTarget{session, c.Connection.address()}
	if asset := c.Source.Asset; asset != nil && asset.IsText() {
		return target.text(asset.Text, c.RemotePath)
	}
	source := ""
	if c.Source.Asset != nil {
		source = c.Source.Asset.Path
	} else if c.Source.Archive != nil {
		source = c.Source.Archive.Path
	}
	if source == "" {
		return errors.New("source is missing: expected a FileAsset, a StringAsset or a FileArchive")
	}
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if info.IsDir() {
		return target.directory(source, c.RemotePath)
	}
	return target.file(source, c.RemotePath)
}

type copyTarget struct {
	session *sftp.Client
	host    string
}

func (t copyTarget) isDirectory(remotePath string) (exists, directory bool, err error) {
	info, err := t.session.Stat(remotePath)
	if errors.Is(err, os.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("%s:%s: %w", t.host, remotePath, err)
	}
	return true, info.IsDir(), nil
}

func (t copyTarget) text(text, remotePath string) error {
	if _, directory, err := t.isDirectory(remotePath); err != nil {
		return err
	} else if directory {
		return fmt.Errorf("remotePath: %s:%s is a directory, but a text needs the path of a file", t.host, remotePath)
	}
	return t.write(strings.NewReader(text), remotePath)
}

// file copies into remotePath if that is a directory, and to remotePath otherwise.
func (t copyTarget) file(source, remotePath string) error {
	if _, directory, err := t.isDirectory(remotePath); err != nil {
		return err
	} else if directory {
		remotePath = path.Join(remotePath, filepath.Base(source))
	}
	return t.stream(source, remotePath)
}

// directory copies the directory into remotePath or, if source ends in a slash, what is in it.
func (t copyTarget) directory(source, remotePath string) error {
	if !strings.HasSuffix(source, "/") {
		remotePath = path.Join(remotePath, filepath.Base(source))
	}
	return filepath.WalkDir(source, func(local string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(source, local)
		if err != nil {
			return err
		}
		remote := path.Join(remotePath, filepath.ToSlash(relative))
		if !entry.IsDir() {
			return t.stream(local, remote)
		}
		exists, directory, err := t.isDirectory(remote)
		if err == nil && exists && !directory {
			err = fmt.Errorf("remotePath: %s:%s exists and is no directory", t.host, remote)
		}
		if err == nil && !exists {
			err = t.makeDirectory(remote)
		}
		return err
	})
}

func (t copyTarget) makeDirectory(remotePath string) error {
	if err := t.session.MkdirAll(remotePath); err != nil {
		return fmt.Errorf("%s:%s can't be made: %w", t.host, remotePath, err)
	}
	return nil
}

func (t copyTarget) stream(source, remotePath string) error {
	local, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	defer func() { _ = local.Close() }()
	return t.write(local, remotePath)
}

func (t copyTarget) write(from io.Reader, remotePath string) error {
	if err := t.makeDirectory(path.Dir(remotePath)); err != nil {
		return err
	}
	remote, err := t.session.Create(remotePath)
	if err != nil {
		return fmt.Errorf("%s:%s can't be written: %w", t.host, remotePath, err)
	}
	_, err = remote.ReadFrom(from)
	if closed := remote.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("%s:%s was not completely written: %w", t.host, remotePath, err)
	}
	return nil
}
