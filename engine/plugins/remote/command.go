package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"golang.org/x/crypto/ssh"
)

// Command runs a command over SSH when it is created, updated or deleted.
type Command struct{}

// CommandInputs are the npm package's CommandArgs.
type CommandInputs struct {
	Connection *Connection `pulumi:"connection" provider:"secret"`
	Create     *string     `pulumi:"create,optional"`
	Update     *string     `pulumi:"update,optional"`
	Delete     *string     `pulumi:"delete,optional"`
	Stdin      *string     `pulumi:"stdin,optional"`
	// Environment needs AcceptEnv on the machine; a variable that is refused there fails the command.
	Environment            map[string]string `pulumi:"environment,optional"`
	Logging                *Logging          `pulumi:"logging,optional"`
	AddPreviousOutputInEnv *bool             `pulumi:"addPreviousOutputInEnv,optional"`
	Triggers               []any             `pulumi:"triggers,optional" provider:"replaceOnChanges"`
}

// CommandOutputs are the inputs and what the command printed, each without its last newline.
type CommandOutputs struct {
	CommandInputs
	Stdout string `pulumi:"stdout"`
	Stderr string `pulumi:"stderr"`
}

// Logging says which of the command's outputs are shown while it runs.
type Logging string

// Values lists the values as the npm package has them.
func (Logging) Values() []infer.EnumValue[Logging] {
	return []infer.EnumValue[Logging]{
		{Name: "stdout", Value: "stdout"},
		{Name: "stderr", Value: "stderr"},
		{Name: "stdoutAndStderr", Value: "stdoutAndStderr"},
		{Name: "none", Value: "none"},
	}
}

// Annotate sets the official plugin's token and defaults.
func (c *Command) Annotate(a infer.Annotator) { a.SetToken("remote", "Command") }

// Annotate sets the official plugin's defaults.
func (c *CommandInputs) Annotate(a infer.Annotator) { a.SetDefault(&c.AddPreviousOutputInEnv, true) }

// WireDependencies makes the outputs secret if the commands are, as the official plugin does.
func (*Command) WireDependencies(f infer.FieldSelector, in *CommandInputs, out *CommandOutputs) {
	f.OutputField(&out.Connection).DependsOn(f.InputField(&in.Connection))
	f.OutputField(&out.Create).DependsOn(f.InputField(&in.Create))
	f.OutputField(&out.Update).DependsOn(f.InputField(&in.Update))
	f.OutputField(&out.Delete).DependsOn(f.InputField(&in.Delete))
	f.OutputField(&out.Stdin).DependsOn(f.InputField(&in.Stdin))
	f.OutputField(&out.Environment).DependsOn(f.InputField(&in.Environment))
	f.OutputField(&out.Logging).DependsOn(f.InputField(&in.Logging))
	f.OutputField(&out.AddPreviousOutputInEnv).DependsOn(f.InputField(&in.AddPreviousOutputInEnv))
	f.OutputField(&out.Triggers).DependsOn(f.InputField(&in.Triggers))
	f.OutputField(&out.Stdout).DependsOn(f.InputField(&in.Create), f.InputField(&in.Update))
	f.OutputField(&out.Stderr).DependsOn(f.InputField(&in.Create), f.InputField(&in.Update))
}

// Check refuses, by name, what is not supported.
func (*Command) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[CommandInputs], error) {
	inputs, failures, err := infer.DefaultCheck[CommandInputs](ctx, req.NewInputs)
	failures = append(failures, checkConnection(req.NewInputs)...)
	if value, found := req.NewInputs.GetOk("logging"); found && value.IsString() {
		switch value.AsString() {
		case "stdout", "stderr", "stdoutAndStderr", "none":
		default:
			failures = append(failures, p.CheckFailure{Property: "logging", Reason: fmt.Sprintf(
				"logging is %q, expected stdout, stderr, stdoutAndStderr or none", value.AsString())})
		}
	}
	return infer.CheckResponse[CommandInputs]{Inputs: inputs, Failures: failures}, err
}

// Create runs the create command.
func (*Command) Create(
	ctx context.Context, req infer.CreateRequest[CommandInputs],
) (infer.CreateResponse[CommandOutputs], error) {
	id, err := resource.NewUniqueHex(req.Name, 8, 0)
	state := CommandOutputs{CommandInputs: req.Inputs}
	if err == nil && !req.DryRun && req.Inputs.Create != nil {
		err = state.run(ctx, *req.Inputs.Create)
	}
	return infer.CreateResponse[CommandOutputs]{ID: id, Output: state}, err
}

// Update runs the update command or, if there is none, the create command again.
func (*Command) Update(
	ctx context.Context, req infer.UpdateRequest[CommandInputs, CommandOutputs],
) (infer.UpdateResponse[CommandOutputs], error) {
	state := CommandOutputs{CommandInputs: req.Inputs, Stdout: req.State.Stdout, Stderr: req.State.Stderr}
	command := req.Inputs.Update
	if command == nil {
		command = req.Inputs.Create
	}
	var err error
	if !req.DryRun && command != nil {
		err = state.run(ctx, *command)
	}
	return infer.UpdateResponse[CommandOutputs]{Output: state}, err
}

// Delete runs the delete command, if there is one.
func (*Command) Delete(ctx context.Context, req infer.DeleteRequest[CommandOutputs]) (infer.DeleteResponse, error) {
	if req.State.Delete == nil {
		return infer.DeleteResponse{}, nil
	}
	return infer.DeleteResponse{}, req.State.run(ctx, *req.State.Delete)
}

// run replaces Stdout and Stderr with what the command prints. It runs the command at most once.
func (c *CommandOutputs) run(ctx context.Context, command string) error {
	connected, err := c.Connection.connect(ctx)
	if err != nil {
		return err
	}
	defer connected.close()
	session, err := connected.NewSession()
	if err != nil {
		return fmt.Errorf("%s does not open a session: %w", c.Connection.address(), err)
	}
	defer func() { _ = session.Close() }()
	if err := c.setEnvironment(ctx, session); err != nil {
		return err
	}

	hide := newRedactor(valueOr(c.Stdin, ""))
	logger := p.GetLogger(ctx)
	var stdout, stderr bytes.Buffer
	var both tail
	logging := valueOr(c.Logging, "stdoutAndStderr")
	outLines, errLines := newLineLog(logger, hide), newLineLog(logger, hide)
	session.Stdout = io.MultiWriter(&stdout, &both, pick(logging == "stdout" || logging == "stdoutAndStderr", outLines))
	session.Stderr = io.MultiWriter(&stderr, &both, pick(logging == "stderr" || logging == "stdoutAndStderr", errLines))
	if stdin := valueOr(c.Stdin, ""); stdin != "" {
		session.Stdin = strings.NewReader(stdin)
	}

	defer connected.watch(ctx, keepaliveEvery)()
	stop := context.AfterFunc(ctx, func() {
		// Closing the connection alone would leave the command running.
		_ = session.Signal(ssh.SIGTERM)
		connected.close()
	})
	defer stop()
	err = session.Run(command)
	outLines.flush()
	errLines.flush()
	if err != nil {
		return c.explain(ctx, err, hide(both.String()))
	}
	c.Stdout = strings.TrimSuffix(stdout.String(), "\n")
	c.Stderr = strings.TrimSuffix(stderr.String(), "\n")
	return nil
}

func (c *CommandOutputs) setEnvironment(ctx context.Context, session *ssh.Session) error {
	for name, value := range c.Environment {
		if err := session.Setenv(name, value); err != nil {
			return fmt.Errorf("environment: %s does not accept the variable %s; sshd's AcceptEnv must name it",
				c.Connection.address(), name)
		}
	}
	if !valueOr(c.AddPreviousOutputInEnv, true) {
		return nil
	}
	previous := map[string]string{"PULUMI_COMMAND_STDOUT": c.Stdout, "PULUMI_COMMAND_STDERR": c.Stderr}
	for name, value := range previous {
		if value == "" {
			continue
		}
		// On by default, and refused by most machines: not worth failing for.
		if err := session.Setenv(name, value); err != nil {
			p.GetLogger(ctx).Debugf("%s does not accept the variable %s", c.Connection.address(), name)
		}
	}
	return nil
}

func (c *CommandOutputs) explain(ctx context.Context, err error, output string) error {
	host := c.Connection.address()
	if output == "" {
		output = "(it printed nothing)"
	}
	var exit *ssh.ExitError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the command on %s was stopped: %w; its last output:\n%s", host, context.Cause(ctx), output)
	case errors.As(err, &exit) && exit.Signal() != "":
		return fmt.Errorf("the command on %s was ended by signal %s; its last output:\n%s", host, exit.Signal(), output)
	case errors.As(err, &exit):
		return fmt.Errorf("the command on %s failed with exit code %d; its last output:\n%s", host, exit.ExitStatus(), output)
	default:
		return fmt.Errorf("the connection to %s was lost while the command ran (%w); its last output:\n%s", host, err, output)
	}
}

func pick(wanted bool, writer io.Writer) io.Writer {
	if wanted {
		return writer
	}
	return io.Discard
}

// tail keeps the last bytes of stdout and stderr together, which is what an error shows.
type tail struct {
	mutex sync.Mutex
	bytes []byte
}

const tailBytes = 8 << 10

func (t *tail) Write(data []byte) (int, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.bytes = append(t.bytes, data...)
	if extra := len(t.bytes) - tailBytes; extra > 0 {
		t.bytes = t.bytes[extra:]
	}
	return len(data), nil
}

func (t *tail) String() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return strings.ToValidUTF8(string(t.bytes), "�")
}

// lineLog shows whole lines as they come.
type lineLog struct {
	logger p.Logger
	hide   func(string) string
	rest   []byte
}

func newLineLog(logger p.Logger, hide func(string) string) *lineLog {
	return &lineLog{logger: logger, hide: hide}
}

func (l *lineLog) Write(data []byte) (int, error) {
	l.rest = append(l.rest, data...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		if end < 0 {
			return len(data), nil
		}
		l.show(l.rest[:end])
		l.rest = l.rest[end+1:]
	}
}

func (l *lineLog) flush() {
	if len(l.rest) > 0 {
		l.show(l.rest)
		l.rest = nil
	}
}

func (l *lineLog) show(line []byte) {
	if text := strings.TrimRight(strings.ToValidUTF8(string(line), "�"), "\r"); text != "" {
		l.logger.Info(l.hide(text))
	}
}
