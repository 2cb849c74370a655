/* server.c - a file server that is slow to answer, in a process of its own.
 *
 * A request is the index of a file, four bytes in network order: nothing but the files of the
 * directory can be asked for. The answer is the contents; the server closes the connection.
 */
#include "demo.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Each thread serves one connection at a time: more of them than the demo has workers. */
enum { SERVER_THREADS = 32 };

struct service {
    int listener;
    const struct files *files;
};

static void answer(int connection, const struct files *files) {
    uint32_t request;
    if (recv(connection, &request, sizeof request, MSG_WAITALL) != sizeof request) return;
    size_t index = ntohl(request);
    if (index >= files->count) return;
    nanosleep(&(struct timespec){.tv_nsec = SERVER_DELAY_MS * 1000000L}, NULL);
    int fd = open(files->file[index].path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    while (sendfile(connection, fd, NULL, 1 << 20) > 0) continue;
    close(fd);
}

static void *serve(void *argument) {
    const struct service *service = argument;
    for (;;) {
        int connection = accept4(service->listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0) continue; /* a client that gave up again, or no descriptors for now */
        answer(connection, service->files);
        close(connection);
    }
    return NULL;
}

static _Noreturn void server_main(pid_t parent, struct service *service) {
    /* Ends with its parent, whatever ends that one; it may have ended before the first line. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < SERVER_THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, service) != 0) break;
    }
    serve(service);
    _exit(0);
}

/* A socket that listens on a free port of the loopback; -1: see errno. */
static int listen_somewhere(uint16_t *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    *port = ntohs(address.sin_port);
    return fd;
}

/* Listens before it forks: no client can come too early. */
bool server_start(struct server *server, const struct files *files) {
    struct service service = {.listener = listen_somewhere(&server->port), .files = files};
    if (service.listener < 0) {
        complain("cannot listen on the loopback: %s", strerror(errno));
        return false;
    }
    fflush(NULL);
    pid_t parent = getpid();
    server->pid = fork();
    if (server->pid == 0) server_main(parent, &service);
    if (server->pid < 0) complain("cannot start the server: %s", strerror(errno));
    close(service.listener);
    return server->pid > 0;
}

void server_stop(struct server *server) {
    kill(server->pid, SIGKILL);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR) continue;
}
