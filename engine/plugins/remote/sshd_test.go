package remote

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// keyPair is a key in the forms in which a connection takes it.
type keyPair struct {
	signer          ssh.Signer
	private, public string
}

func newKey(t *testing.T) keyPair {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{signer, string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(signer.PublicKey()))}
}

// sshd is a real SSH server on the loopback that runs commands with sh, serves SFTP and forwards connections.
type sshd struct {
	host keyPair
	port int
	// acceptEnv are the variables that it takes, as sshd's AcceptEnv.
	acceptEnv []string
	// breakForwards is how many forwarded connections it accepts and then drops.
	breakForwards atomic.Int32
	// logins and forwards count what it saw.
	logins, forwards atomic.Int32
	// silent makes it stop answering keepalives, as a machine that lost its power.
	silent   atomic.Bool
	answers  atomic.Int32
	listener net.Listener
	config   *ssh.ServerConfig
}

func startSSHD(t *testing.T, authorized keyPair) *sshd {
	t.Helper()
	server := &sshd{host: newKey(t)}
	server.config = &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if string(key.Marshal()) != string(authorized.signer.PublicKey().Marshal()) {
				return nil, os.ErrPermission
			}
			return &ssh.Permissions{}, nil
		},
	}
	server.config.AddHostKey(server.host.signer)
	server.listen(t, "127.0.0.1:0")
	server.port = server.listener.Addr().(*net.TCPAddr).Port
	return server
}

func (s *sshd) listen(t *testing.T, address string) {
	t.Helper()
	var err error
	if s.listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	listener := s.listener
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(raw)
		}
	}()
}

func (s *sshd) serve(raw net.Conn) {
	conn, channels, requests, err := ssh.NewServerConn(raw, s.config)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	s.logins.Add(1)
	go func() {
		for request := range requests {
			if !s.silent.Load() {
				_ = request.Reply(false, nil)
				s.answers.Add(1)
			}
		}
	}()
	for channel := range channels {
		switch channel.ChannelType() {
		case "session":
			go s.session(channel)
		case "direct-tcpip":
			go s.forward(channel)
		default:
			_ = channel.Reject(ssh.UnknownChannelType, "")
		}
	}
}

func (s *sshd) forward(channel ssh.NewChannel) {
	s.forwards.Add(1)
	var target struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(channel.ExtraData(), &target); err != nil {
		_ = channel.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	if s.breakForwards.Add(-1) >= 0 {
		accepted, requests, err := channel.Accept()
		if err == nil {
			go ssh.DiscardRequests(requests)
			_ = accepted.Close()
		}
		return
	}
	address := &net.TCPAddr{IP: net.ParseIP(target.Host), Port: int(target.Port)}
	out, err := net.DialTCP("tcp", nil, address)
	if err != nil {
		_ = channel.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	in, requests, err := channel.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	var both sync.WaitGroup
	both.Add(2)
	go func() { defer both.Done(); _, _ = io.Copy(out, in); _ = out.CloseWrite() }()
	go func() { defer both.Done(); _, _ = io.Copy(in, out); _ = in.CloseWrite() }()
	both.Wait()
	_ = in.Close()
	_ = out.Close()
}

func (s *sshd) session(offered ssh.NewChannel) {
	channel, requests, err := offered.Accept()
	if err != nil {
		return
	}
	env := os.Environ()
	var running *exec.Cmd
	for request := range requests {
		switch request.Type {
		case "env":
			var variable struct{ Name, Value string }
			_ = ssh.Unmarshal(request.Payload, &variable)
			accepted := slices.Contains(s.acceptEnv, variable.Name)
			if accepted {
				env = append(env, variable.Name+"="+variable.Value)
			}
			_ = request.Reply(accepted, nil)
		case "exec":
			var command struct{ Text string }
			_ = ssh.Unmarshal(request.Payload, &command)
			running = exec.Command("sh", "-c", command.Text)
			running.Env, running.Stdout, running.Stderr = env, channel, channel.Stderr()
			running.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			// A pipe, so that a command that does not read its input is not waited for.
			stdin, _ := running.StdinPipe()
			_ = request.Reply(running.Start() == nil, nil)
			go func() { _, _ = io.Copy(stdin, channel); _ = stdin.Close() }()
			go func() { exit(channel, running.Wait()) }()
		case "subsystem":
			_ = request.Reply(strings.HasSuffix(string(request.Payload), "sftp"), nil)
			go func() {
				if server, err := sftp.NewServer(channel); err == nil {
					_ = server.Serve()
					_ = server.Close()
				}
			}()
		case "signal":
			if running != nil {
				_ = syscall.Kill(-running.Process.Pid, syscall.SIGTERM)
			}
		default:
			_ = request.Reply(false, nil)
		}
	}
}

func exit(channel ssh.Channel, err error) {
	var status struct{ Code uint32 }
	if exited, ok := err.(*exec.ExitError); ok {
		status.Code = uint32(exited.ExitCode())
	}
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
	_ = channel.Close()
}

// endpoint is how to reach the server, giving up after the first failure.
func (s *sshd) endpoint(login keyPair) Endpoint {
	limit := 0
	return Endpoint{
		Host: "127.0.0.1", Port: &s.port, PrivateKey: &login.private, HostKey: &s.host.public, DialErrorLimit: &limit,
	}
}
