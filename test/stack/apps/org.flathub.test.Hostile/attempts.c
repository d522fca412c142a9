/*
 * What no build may do, tried one after the other. Each attempt is inert: what gets through is named and undone.
 * Ends with status 0 only if every attempt was refused.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int through;

static void tell(int got_through, const char *what, const char *detail)
{
	printf("%s: %s%s%s\n", got_through ? "GOT THROUGH" : "refused", what, *detail ? ": " : "", detail);
	fflush(stdout);
	through += got_through;
}

/* A host that answers, even with a refusal, has been reached. */
static void reach(const char *what, const char *address, int port)
{
	char name[256];
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int error = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	socklen_t size = sizeof error;

	snprintf(name, sizeof name, "%s (%s port %d)", what, address, port);
	if (fd < 0) {
		tell(0, name, strerror(errno));
		return;
	}
	inet_pton(AF_INET, address, &to.sin_addr);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
		error = errno;
		if (error == EINPROGRESS) {
			struct pollfd ready = { .fd = fd, .events = POLLOUT };
			error = ETIMEDOUT;
			if (poll(&ready, 1, 3000) == 1)
				getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
		}
	}
	close(fd);
	tell(error == 0 || error == ECONNREFUSED || error == ECONNRESET, name, error ? strerror(error) : "connected");
}

static void open_socket(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), result;

	strncpy(to.sun_path, path, sizeof to.sun_path - 1);
	result = connect(fd, (struct sockaddr *)&to, sizeof to);
	tell(result == 0, path, result ? strerror(errno) : "connected");
	close(fd);
}

static void open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC);

	tell(fd >= 0, path, fd < 0 ? strerror(errno) : (flags & O_ACCMODE) == O_RDONLY ? "opened" : "opened for writing");
	if (fd >= 0)
		close(fd);
}

/* Of all builds' folders, at most its own may be there. */
static void list_builds(void)
{
	DIR *folder = opendir("/var/lib/build/builds");
	struct dirent *entry;
	int count = 0;

	while (folder && (entry = readdir(folder)))
		count += entry->d_name[0] != '.';
	tell(count > 1, "other builds' folders", count > 1 ? "listed" : "");
	if (folder)
		closedir(folder);
}

static void look_at_processes(void)
{
	static const char *const strangers[] = { "systemd", "twistd", "python3", "sudo", "flatpak-builder", "sshd" };
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	char path[300], name[64], found[64] = "";

	while (folder && (entry = readdir(folder))) {
		snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
		FILE *file = fopen(path, "r");
		if (!file)
			continue;
		if (fgets(name, sizeof name, file)) {
			name[strcspn(name, "\n")] = 0;
			for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
				if (!strcmp(name, strangers[i]))
					strcpy(found, name);
		}
		fclose(file);
	}
	tell(*found != 0, "processes outside the sandbox", found);
	if (folder)
		closedir(folder);
}

static void look_at_interfaces(void)
{
	char line[512], found[64] = "";
	FILE *file = fopen("/proc/net/dev", "r");

	for (int i = 0; file && fgets(line, sizeof line, file); i++) {
		char name[64] = "";
		if (i >= 2 && sscanf(line, " %63[^:]:", name) == 1 && strcmp(name, "lo"))
			strcpy(found, name);
	}
	tell(*found != 0, "a network interface", found);
	if (file)
		fclose(file);
}

static void escalate(void)
{
	tell(setuid(0) == 0 && getuid() == 0, "becoming root", "");
	pid_t child = fork();
	if (child == 0)
		_exit(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && mount("none", "/tmp", "tmpfs", 0, NULL) == 0);
	int status = 0;
	waitpid(child, &status, 0);
	tell(WIFEXITED(status) && WEXITSTATUS(status) == 1, "mounting in a namespace of its own", "");
	int made = mknod("attempt-device", S_IFBLK | 0600, makedev(8, 0)) == 0;
	tell(made, "making a disk's device", made ? "" : strerror(errno));
	if (made)
		unlink("attempt-device");
}

static void exceed(void)
{
	enum { MOST = 20000 };
	static pid_t children[MOST];
	int count = 0, file = open("attempt-file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), result;
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	result = ftruncate(file, 1LL << 40);
	tell(result == 0, "a file of 1 TiB", result ? strerror(errno) : "made, without content");
	close(file);
	unlink("attempt-file");
	getrlimit(RLIMIT_CORE, &limit);
	tell(limit.rlim_max != 0, "core dumps", "");
	while (count < MOST) {
		children[count] = fork();
		if (children[count] < 0)
			break;
		if (children[count] == 0) {
			pause();
			_exit(0);
		}
		count++;
	}
	for (int i = 0; i < count; i++)
		kill(children[i], SIGKILL);
	while (wait(NULL) > 0)
		;
	char detail[64];
	snprintf(detail, sizeof detail, "%d processes", count);
	tell(count == MOST, "processes without end", detail);
}

int main(void)
{
	reach("the metadata service", "169.254.42.42", 80);
	reach("the master's worker port", "10.17.0.10", 9989);
	reach("the master's web service", "10.17.0.10", 8010);
	reach("the master's SSH", "10.17.0.10", 22);
	reach("the repository", "10.17.0.20", 80);
	reach("the repository's SSH", "10.17.0.20", 22);
	reach("front's SSH", "10.17.0.2", 22);
	reach("another builder's SSH", "10.17.0.31", 22);
	reach("another builder's SSH", "10.17.0.32", 22);
	reach("the outside", "1.1.1.1", 53);
	look_at_interfaces();

	open_file("/etc/flathub/secrets", O_RDONLY);
	open_file("/etc/flathub/secrets/worker-password", O_RDONLY);
	open_file("/run/credentials", O_RDONLY);
	open_file("/run/credentials/buildbot-worker.service/worker-password", O_RDONLY);
	open_file("/var/lib/worker", O_RDONLY);
	open_file("/var/lib/cloud", O_RDONLY);
	open_file("/var/lib/build/home/remotes.json", O_RDONLY);
	open_file("/var/lib/build/home/.local/share/flatpak/repo/config", O_RDONLY);
	open_file("/opt/flathub/current", O_RDONLY);
	open_file("/etc/shadow", O_RDONLY);
	open_file("/usr/bin/attempt", O_WRONLY | O_CREAT);
	open_file("/etc/passwd", O_WRONLY);
	open_file("/dev/kmsg", O_RDONLY);
	open_file("/dev/mem", O_RDONLY);
	open_file("/dev/sda", O_RDONLY);
	open_file("/dev/fuse", O_RDWR);
	open_file("/dev/kvm", O_RDWR);
	open_file("/dev/net/tun", O_RDWR);
	list_builds();
	look_at_processes();

	open_socket("/run/dbus/system_bus_socket");
	open_socket("/run/systemd/private");
	open_socket("/run/systemd/resolve/io.systemd.Resolve");
	open_socket("/run/systemd/journal/stdout");

	escalate();
	exceed();

	printf("%d of the attempts got through\n", through);
	return through != 0;
}
