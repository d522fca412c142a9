package remote

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi-go-provider/infer"
)

func create(t *testing.T, inputs CommandInputs) (CommandOutputs, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	made, err := (&Command{}).Create(ctx, infer.CreateRequest[CommandInputs]{Name: "test", Inputs: inputs})
	return made.Output, err
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}

func TestRunsTheCommandWithStdin(t *testing.T) {
	login := newKey(t)
	server := startSSHD(t, login)
	command, stdin := "cat; echo aside >&2", "a secret\nin two lines\n"
	got, err := create(t, CommandInputs{
		Connection: &Connection{Endpoint: server.endpoint(login)}, Create: &command, Stdin: &stdin,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Stdout != "a secret\nin two lines" || got.Stderr != "aside" {
		t.Errorf("stdout %q, stderr %q", got.Stdout, got.Stderr)
	}
}

func TestPreviewRunsNothing(t *testing.T) {
	command := "true"
	_, err := (&Command{}).Create(context.Background(), infer.CreateRequest[CommandInputs]{
		Name: "test", DryRun: true, Inputs: CommandInputs{Connection: &Connection{}, Create: &command},
	})
	if err != nil {
		t.Errorf("a preview wants a connection: %v", err)
	}
}

func TestNonZeroExit(t *testing.T) {
	login := newKey(t)
	server := startSSHD(t, login)
	command, stdin := "cat >&2; echo the end; exit 7", `{"secrets": {"token": "correct horse battery"}}`
	_, err := create(t, CommandInputs{
		Connection: &Connection{Endpoint: server.endpoint(login)}, Create: &command, Stdin: &stdin,
	})
	wantError(t, err, "exit code 7", "the end")
	if strings.Contains(err.Error(), "correct horse") {
		t.Errorf("the error shows what came on stdin: %v", err)
	}
}

func TestThroughAJumpHost(t *testing.T) {
	login := newKey(t)
	jump, server := startSSHD(t, login), startSSHD(t, login)
	command := "echo inside"
	got, err := create(t, CommandInputs{
		Connection: &Connection{Endpoint: server.endpoint(login), Proxy: &Proxy{jump.endpoint(login)}}, Create: &command,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Stdout != "inside" || jump.forwards.Load() != 1 {
		t.Errorf("stdout %q through %d forwarded connections", got.Stdout, jump.forwards.Load())
	}
}

func TestAWrongHostKeyIsRefusedAtFirstContact(t *testing.T) {
	login, other := newKey(t), newKey(t)
	for _, hop := range []string{"machine", "jump host"} {
		t.Run(hop, func(t *testing.T) {
			jump, server := startSSHD(t, login), startSSHD(t, login)
			connection := &Connection{Endpoint: server.endpoint(login), Proxy: &Proxy{jump.endpoint(login)}}
			wrong := &connection.Endpoint
			if hop == "jump host" {
				wrong = &connection.Proxy.Endpoint
			}
			wrong.HostKey = &other.public
			mark := filepath.Join(t.TempDir(), "ran")
			command := "touch " + mark
			_, err := create(t, CommandInputs{Connection: connection, Create: &command})
			wantError(t, err, "host key", "expected")
			if _, err := os.Stat(mark); err == nil {
				t.Error("the command ran on a machine with the wrong key")
			}
			if server.logins.Load() != 0 {
				t.Error("logged in to a machine behind or with the wrong key")
			}
		})
	}
}

func TestAWrongHostKeyIsNotWaitedOutForEver(t *testing.T) {
	patience := hostKeyPatience
	hostKeyPatience = 200 * time.Millisecond
	defer func() { hostKeyPatience = patience }()
	login, other := newKey(t), newKey(t)
	server := startSSHD(t, login)
	endpoint, forever := server.endpoint(login), -1
	endpoint.HostKey, endpoint.DialErrorLimit = &other.public, &forever
	_, err := create(t, CommandInputs{Connection: &Connection{Endpoint: endpoint}, Create: new(string)})
	wantError(t, err, "refusing to talk to")
}

func TestABrokenForwardIsRetriedOverANewJump(t *testing.T) {
	login := newKey(t)
	jump, server := startSSHD(t, login), startSSHD(t, login)
	jump.breakForwards.Store(2)
	endpoint, limit := server.endpoint(login), 2
	endpoint.DialErrorLimit = &limit
	command := "echo arrived"
	got, err := create(t, CommandInputs{
		Connection: &Connection{Endpoint: endpoint, Proxy: &Proxy{jump.endpoint(login)}}, Create: &command,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Stdout != "arrived" || jump.logins.Load() != 3 {
		t.Errorf("stdout %q after %d connections to the jump host, want 3", got.Stdout, jump.logins.Load())
	}
}

func TestTheDialErrorLimitCounts(t *testing.T) {
	login := newKey(t)
	server := startSSHD(t, login)
	_ = server.listener.Close()
	endpoint, limit := server.endpoint(login), 2
	endpoint.DialErrorLimit = &limit
	_, err := create(t, CommandInputs{Connection: &Connection{Endpoint: endpoint}, Create: new(string)})
	wantError(t, err, "failed 3 times", "dialErrorLimit is 2")
}

func TestUnlimitedDialsWaitForTheMachineToBoot(t *testing.T) {
	login := newKey(t)
	server := startSSHD(t, login)
	address := server.listener.Addr().String()
	_ = server.listener.Close()
	endpoint, forever := server.endpoint(login), -1
	endpoint.DialErrorLimit = &forever
	booted := time.AfterFunc(500*time.Millisecond, func() { server.listen(t, address) })
	defer booted.Stop()
	command := "echo up"
	got, err := create(t, CommandInputs{Connection: &Connection{Endpoint: endpoint}, Create: &command})
	if err != nil || got.Stdout != "up" {
		t.Errorf("stdout %q, %v", got.Stdout, err)
	}
}

func TestUnlimitedDialsEndWithTheOperation(t *testing.T) {
	login := newKey(t)
	server := startSSHD(t, login)
	_ = server.listener.Close()
	endpoint, forever := server.endpoint(login), -1
	endpoint.DialErrorLimit = &forever
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := (&Connection{Endpoint: endpoint}).connect(ctx)
	wantError(t, err, "gave up connecting", "deadline exceeded", "refused")
}

func TestCancelEndsTheCommand(t *testing.T) {
	login := newKey(t)
	server := startSSHD(t, login)
	folder := t.TempDir()
	started, ended := filepath.Join(folder, "started"), filepath.Join(folder, "ended")
	command := "trap 'touch " + ended + "; exit 1' TERM; touch " + started + "; while :; do sleep 0.05; done"
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	result := make(chan error, 1)
	go func() {
		_, err := (&Command{}).Create(ctx, infer.CreateRequest[CommandInputs]{Name: "test", Inputs: CommandInputs{
			Connection: &Connection{Endpoint: server.endpoint(login)}, Create: &command,
		}})
		result <- err
	}()
	eventually(t, "the command runs", func() bool { _, err := os.Stat(started); return err == nil })
	cancel()
	select {
	case err := <-result:
		wantError(t, err, "was stopped")
	case <-time.After(10 * time.Second):
		t.Fatal("Create goes on after it was cancelled")
	}
	eventually(t, "the command got its signal", func() bool { _, err := os.Stat(ended); return err == nil })
}

func TestAVanishedMachineIsNoticed(t *testing.T) {
	login := newKey(t)
	server := startSSHD(t, login)
	connected, err := (&Connection{Endpoint: server.endpoint(login)}).connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer connected.watch(context.Background(), 20*time.Millisecond)()
	defer connected.close()
	ended := make(chan struct{})
	go func() { _ = connected.Wait(); close(ended) }()
	eventually(t, "some keepalives are answered", func() bool { return server.answers.Load() > 3 })
	select {
	case <-ended:
		t.Fatal("a connection to a machine that answers was closed")
	default:
	}
	server.silent.Store(true)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the connection to a machine that no longer answers stays open")
	}
}

func TestUpdateAndDelete(t *testing.T) {
	login := newKey(t)
	server := startSSHD(t, login)
	server.acceptEnv = []string{"PULUMI_COMMAND_STDOUT"}
	connection := &Connection{Endpoint: server.endpoint(login)}
	text := func(value string) *string { return &value }
	update := func(inputs CommandInputs) string {
		t.Helper()
		made, err := (&Command{}).Update(context.Background(), infer.UpdateRequest[CommandInputs, CommandOutputs]{
			State: CommandOutputs{CommandInputs: inputs, Stdout: "before"}, Inputs: inputs,
		})
		if err != nil {
			t.Fatal(err)
		}
		return made.Output.Stdout
	}
	both := CommandInputs{Connection: connection, Create: text("echo create"), Update: text("echo $PULUMI_COMMAND_STDOUT and update")}
	if got := update(both); got != "before and update" {
		t.Errorf("with an update command: %q", got)
	}
	if got := update(CommandInputs{Connection: connection, Create: text("echo create")}); got != "create" {
		t.Errorf("without one: %q", got)
	}
	if got := update(CommandInputs{Connection: connection}); got != "before" {
		t.Errorf("without any: %q", got)
	}
	off := false
	both.AddPreviousOutputInEnv = &off
	if got := update(both); got != "and update" {
		t.Errorf("without the previous output: %q", got)
	}

	mark := filepath.Join(t.TempDir(), "deleted")
	_, err := (&Command{}).Delete(context.Background(), infer.DeleteRequest[CommandOutputs]{State: CommandOutputs{
		CommandInputs: CommandInputs{Connection: connection, Delete: text("cat > " + mark), Stdin: text("script")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(mark); err != nil || string(content) != "script" {
		t.Errorf("the delete command did not run with its input: %q, %v", content, err)
	}
}

func TestEnvironment(t *testing.T) {
	login := newKey(t)
	server := startSSHD(t, login)
	server.acceptEnv = []string{"GREETING"}
	command := "echo $GREETING"
	inputs := CommandInputs{
		Connection: &Connection{Endpoint: server.endpoint(login)}, Create: &command,
		Environment: map[string]string{"GREETING": "hello"},
	}
	got, err := create(t, inputs)
	if err != nil || got.Stdout != "hello" {
		t.Errorf("stdout %q, %v", got.Stdout, err)
	}
	inputs.Environment = map[string]string{"OTHER": "hello"}
	_, err = create(t, inputs)
	wantError(t, err, "OTHER", "AcceptEnv")
}

func TestRedactor(t *testing.T) {
	hide := newRedactor(`{"secrets": {"passwords.json": "{\"builder-1\": \"hunter2hunter2\"}", "key": "line one\nline two\n", "short": "yes"}}`)
	got := hide("password hunter2hunter2, line two, yes")
	if got != "password [secret], [secret], yes" {
		t.Error(got)
	}
	if got := newRedactor("")("nothing to hide"); got != "nothing to hide" {
		t.Error(got)
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
