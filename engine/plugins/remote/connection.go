package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"golang.org/x/crypto/ssh"
)

// Endpoint is one SSH server: the machine itself or the jump host before it. It has every field of the npm package's
// type; Password, PrivateKeyPassword and AgentSocketPath are only here to be refused by name.
type Endpoint struct {
	Host string  `pulumi:"host"`
	Port *int    `pulumi:"port,optional"`
	User *string `pulumi:"user,optional"`
	// PrivateKey is the text of an unencrypted key in PEM or OpenSSH form.
	PrivateKey *string `pulumi:"privateKey,optional"`
	// HostKey is the server's public key as in authorized_keys. Nothing is sent to a server that shows another one.
	HostKey *string `pulumi:"hostKey,optional"`
	// DialErrorLimit is how many failed attempts are forgiven; -1 forgives all of them until the operation's deadline.
	DialErrorLimit *int `pulumi:"dialErrorLimit,optional"`
	// PerDialTimeout is in seconds, for the connection and the handshake together; 0 is no limit.
	PerDialTimeout     *int    `pulumi:"perDialTimeout,optional"`
	Password           *string `pulumi:"password,optional"`
	PrivateKeyPassword *string `pulumi:"privateKeyPassword,optional"`
	AgentSocketPath    *string `pulumi:"agentSocketPath,optional"`
}

// Connection is how a machine is reached: directly, or through a jump host.
type Connection struct {
	Endpoint
	Proxy *Proxy `pulumi:"proxy,optional"`
}

// Proxy is the jump host.
type Proxy struct {
	Endpoint
}

// Annotate gives the type the official plugin's name.
func (c *Connection) Annotate(a infer.Annotator) { a.SetToken("remote", "Connection") }

// Annotate gives the type the official plugin's name.
func (c *Proxy) Annotate(a infer.Annotator) { a.SetToken("remote", "ProxyConnection") }

// A machine that was just replaced may still answer with its predecessor's key. This is how long that is waited out.
var hostKeyPatience = 60 * time.Second

// Keepalives find out that a machine vanished while a command runs there.
const keepaliveEvery = 15 * time.Second

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

type hostKeyError struct {
	address, got, want string
}

func (e *hostKeyError) Error() string {
	return fmt.Sprintf("%s shows the host key %s, but %s was expected", e.address, e.got, e.want)
}

func (e *Endpoint) address() string {
	return net.JoinHostPort(e.Host, strconv.Itoa(valueOr(e.Port, 22)))
}

// config turns the endpoint into a client's configuration. The key is the only way to log in, and hostKey the only
// key that is accepted.
func (e *Endpoint) config(field string) (*ssh.ClientConfig, error) {
	if e.HostKey == nil || *e.HostKey == "" {
		return nil, fmt.Errorf("%s.hostKey is missing: without it %s could be any machine", field, e.address())
	}
	expected, _, _, _, err := ssh.ParseAuthorizedKey([]byte(*e.HostKey))
	if err != nil {
		return nil, fmt.Errorf("%s.hostKey is no public key: expected a line like \"ssh-ed25519 AAAA…\"", field)
	}
	if e.PrivateKey == nil || *e.PrivateKey == "" {
		return nil, fmt.Errorf("%s.privateKey is missing: it is the only way to log in that is supported here", field)
	}
	signer, err := ssh.ParsePrivateKey([]byte(*e.PrivateKey))
	if err != nil {
		return nil, fmt.Errorf("%s.privateKey can't be read: %w", field, err)
	}
	address := e.address()
	return &ssh.ClientConfig{
		User: valueOr(e.User, "root"),
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: func(_ string, _ net.Addr, shown ssh.PublicKey) error {
			if string(shown.Marshal()) == string(expected.Marshal()) {
				return nil
			}
			return &hostKeyError{address, ssh.FingerprintSHA256(shown), ssh.FingerprintSHA256(expected)}
		},
	}, nil
}

// handshake makes raw an SSH connection, within the endpoint's perDialTimeout.
func (e *Endpoint) handshake(ctx context.Context, raw net.Conn, config *ssh.ClientConfig) (*ssh.Client, error) {
	// A channel through a jump host knows no deadlines, so a late handshake is ended by closing it.
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	conn, channels, requests, err := ssh.NewClientConn(raw, e.address(), config)
	if err != nil {
		_ = raw.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("no SSH handshake with %s in time", e.address())
		}
		return nil, err
	}
	return ssh.NewClient(conn, channels, requests), nil
}

func (e *Endpoint) attempt(ctx context.Context) (context.Context, context.CancelFunc) {
	if seconds := valueOr(e.PerDialTimeout, 15); seconds > 0 {
		return context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
	}
	return context.WithCancel(ctx)
}

func (e *Endpoint) dial(ctx context.Context, config *ssh.ClientConfig) (*ssh.Client, error) {
	ctx, cancel := e.attempt(ctx)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.address())
	if err != nil {
		return nil, err
	}
	return e.handshake(ctx, raw, config)
}

func (e *Endpoint) dialThrough(ctx context.Context, jump *ssh.Client, config *ssh.ClientConfig) (*ssh.Client, error) {
	ctx, cancel := e.attempt(ctx)
	defer cancel()
	raw, err := jump.DialContext(ctx, "tcp", e.address())
	if err != nil {
		return nil, fmt.Errorf("%s through the jump host: %w", e.address(), err)
	}
	return e.handshake(ctx, raw, config)
}

// client is a connection with the one to the jump host that it runs through, if any.
type client struct {
	*ssh.Client
	jump *ssh.Client
}

func (c *client) close() {
	_ = c.Client.Close()
	if c.jump != nil {
		_ = c.jump.Close()
	}
}

// connect retries until it has a connection, a dialErrorLimit is reached, or ctx ends. Every attempt starts with a
// new connection to the jump host: one through which a handshake failed may be dead.
func (c *Connection) connect(ctx context.Context) (*client, error) {
	config, err := c.config("connection")
	if err != nil {
		return nil, err
	}
	var proxyConfig *ssh.ClientConfig
	if c.Proxy != nil {
		if proxyConfig, err = c.Proxy.config("connection.proxy"); err != nil {
			return nil, err
		}
	}

	failures := map[*Endpoint]int{}
	var mismatchSince time.Time
	var previous error
	pause := firstPause
	for {
		made, failed, err := c.connectOnce(ctx, config, proxyConfig)
		if err == nil {
			return made, nil
		}
		if ctx.Err() != nil {
			// The attempt that was interrupted says less than the one before it.
			if previous != nil {
				err = previous
			}
			return nil, fmt.Errorf("gave up connecting to %s: %w; the last attempt failed with: %w",
				c.address(), context.Cause(ctx), err)
		}
		failures[failed]++
		if limit := valueOr(failed.DialErrorLimit, 10); limit >= 0 && failures[failed] > limit {
			return nil, fmt.Errorf("connecting to %s failed %d times (dialErrorLimit is %d), at last with: %w",
				failed.address(), failures[failed], limit, err)
		}
		var mismatch *hostKeyError
		if !errors.As(err, &mismatch) {
			mismatchSince = time.Time{}
		} else if mismatchSince.IsZero() {
			mismatchSince = time.Now()
		} else if time.Since(mismatchSince) > hostKeyPatience {
			return nil, fmt.Errorf("refusing to talk to %s: %w", failed.address(), err)
		}
		if previous == nil || err.Error() != previous.Error() {
			p.GetLogger(ctx).InfoStatusf("waiting for %s: %v", failed.address(), err)
		}
		previous = err
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(pause*3/2, longestPause)
	}
}

// connectOnce says, when it fails, which endpoint was to blame.
func (c *Connection) connectOnce(ctx context.Context, config, proxyConfig *ssh.ClientConfig) (*client, *Endpoint, error) {
	if c.Proxy == nil {
		direct, err := c.dial(ctx, config)
		if err != nil {
			return nil, &c.Endpoint, err
		}
		return &client{Client: direct}, nil, nil
	}
	jump, err := c.Proxy.dial(ctx, proxyConfig)
	if err != nil {
		return nil, &c.Proxy.Endpoint, fmt.Errorf("jump host %s: %w", c.Proxy.address(), err)
	}
	inner, err := c.dialThrough(ctx, jump, config)
	if err != nil {
		_ = jump.Close()
		return nil, &c.Endpoint, err
	}
	return &client{Client: inner, jump: jump}, nil, nil
}

// watch closes the connection when ctx ends or the machine no longer answers. The function that it returns ends it.
func (c *client) watch(ctx context.Context, every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(every):
			}
			answer := make(chan error, 1)
			go func() {
				_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
				answer <- err
			}()
			select {
			case <-ctx.Done():
				return
			case err := <-answer:
				if err == nil {
					continue
				}
			case <-time.After(4 * every):
			}
			c.close()
			return
		}
	}()
	return cancel
}

func valueOr[T any](pointer *T, otherwise T) T {
	if pointer == nil {
		return otherwise
	}
	return *pointer
}
