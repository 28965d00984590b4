/* Open-loop load for the measurements of routing: Poisson arrivals, one connection per request or many kept ones.
 *
 *   openloop PORT SECONDS RATE CHEAP_US COSTLY_US COSTLY_SHARE KEPT TAIL SEED
 *
 * Requests are GET /N for a service time of N microseconds. When each is due, and whether it is a costly one, depends
 * on SEED alone, so that all variants get the same traffic. A request is timed from when it was due, however late it
 * was sent, and is never sent twice.
 *
 * KEPT connections are opened in one burst, each by a first request, which is not reported. A request goes to a random
 * idle one, of which the first fifth gets four fifths of the requests; if 50 in a row are busy, it waits for the last of
 * them, and that counts as latency. What the server closes is opened again by the next request that needs it.
 *
 * With KEPT connections, prints "opened" when they are open, and waits for a byte on stdin, if that is a pipe. Prints
 * "started T" (CLOCK_MONOTONIC) when the first request may be due. After SECONDS, or when stdin ends, no more are sent,
 * and after another TAIL seconds no more are waited for. Then a line for each request, with times in microseconds, due
 * since T:
 *     due service lag latency outcome
 * where lag is how late the client itself was, and outcome is 0 (a complete response with 200), 1 (failed) or 2
 * (unanswered); finally "used S", its CPU time in seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DESCRIPTORS = 65536, HEAD = 2048, TRIES = 50, NONE = -1 };
enum { OK, FAILED, UNANSWERED };
enum { CLOSED, CONNECTING, IDLE, BUSY };

struct request {
    double due, sent, end;
    int service, outcome, next; /* next: in the line of a kept connection */
};

struct connection {
    int fd, state, request, first, last; /* first, last: the line of requests that wait for it */
    int kept, used;
    char head[HEAD];
};

static struct request *requests;
static int count, room, pending;
static struct connection *of_fd[DESCRIPTORS], *kept;
static int kept_count, epoll_fd;
static struct sockaddr_in address = {.sin_family = AF_INET};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* xorshift64*: one state for the schedule, another for the choice of a connection. */
static double chance(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (*state * 2685821657736338717ULL >> 11) / 9007199254740992.0;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void watch(struct connection *c, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.fd = c->fd};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event))
        die("epoll_ctl");
}

static void hang_up(struct connection *c) {
    if (c->fd != NONE) {
        of_fd[c->fd] = NULL;
        close(c->fd);
    }
    c->fd = NONE;
    c->state = CLOSED;
}

static void start(struct connection *c, int number);

/* The request of a connection has ended; the connection takes the next one in its line, or goes if it is not kept. */
static void ended(struct connection *c, int outcome, int reusable) {
    int number = c->request;
    c->request = NONE;
    if (number != NONE) {
        requests[number].end = now();
        requests[number].outcome = outcome;
        pending--;
    }
    if (!reusable || !c->kept)
        hang_up(c);
    else
        c->state = IDLE;
    if (!c->kept) {
        free(c);
        return;
    }
    if ((number = c->first) != NONE) {
        c->first = requests[number].next;
        start(c, number);
    }
}

static int dial(struct connection *c) {
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || c->fd >= DESCRIPTORS)
        die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    of_fd[c->fd] = c;
    c->state = CONNECTING;
    if (connect(c->fd, (void *)&address, sizeof address) && errno != EINPROGRESS)
        return 0;
    watch(c, EPOLLOUT, EPOLL_CTL_ADD);
    return 1;
}

static void send_request(struct connection *c) {
    char text[128];
    int size = snprintf(text, sizeof text, "GET /%d HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
                        requests[c->request].service, c->kept ? "" : "Connection: close\r\n");
    c->used = 0;
    c->state = BUSY;
    if (write(c->fd, text, size) != size)
        ended(c, FAILED, 0);
}

static void start(struct connection *c, int number) {
    c->request = number;
    if (c->state == IDLE)
        send_request(c);
    else if (c->state == CLOSED && !dial(c))
        ended(c, FAILED, 0);
}

static struct connection *fresh(void) {
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        die("calloc");
    c->fd = c->request = c->first = c->last = NONE;
    return c;
}

static int add(double due, int service) {
    if (count == room && !(requests = realloc(requests, (room = room ? 2 * room : 4096) * sizeof *requests)))
        die("realloc");
    requests[count] = (struct request){.due = due, .sent = due, .service = service, .outcome = UNANSWERED, .next = NONE};
    pending++;
    return count++;
}

static void arrive(double due, int service, uint64_t *choice) {
    int number = add(due, service), hot = kept_count / 5, tries = 0;
    struct connection *c;
    requests[number].sent = now();
    if (!kept_count) {
        start(fresh(), number);
        return;
    }
    do {
        int at = chance(choice) < .8 ? (int)(chance(choice) * hot) : hot + (int)(chance(choice) * (kept_count - hot));
        c = &kept[at];
    } while (c->request != NONE && ++tries < TRIES);
    if (c->request == NONE) {
        start(c, number);
        return;
    }
    if (c->first == NONE)
        c->first = number;
    else
        requests[c->last].next = number;
    c->last = number;
}

/* Is the response complete? -1: not yet. Otherwise its status, and whether the connection can be used again. */
static int status(struct connection *c, int closed, int *reusable) {
    char *body, *line;
    int length = NONE, close_after = 0;
    c->head[c->used] = 0;
    *reusable = 0;
    if (!(body = strstr(c->head, "\r\n\r\n")))
        return closed || c->used == HEAD - 1 ? 0 : -1;
    for (line = strstr(c->head, "\r\n"); line && line < body; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, "content-length:", 15))
            length = atoi(line + 17);
        if (!strncasecmp(line + 2, "connection: close", 17))
            close_after = 1;
    }
    if (length == NONE ? !closed : c->used < body + 4 - c->head + length)
        return closed ? 0 : -1;
    *reusable = !closed && !close_after && length != NONE;
    return strncmp(c->head, "HTTP/1.1 ", 9) ? 0 : atoi(c->head + 9);
}

static void readable(struct connection *c) {
    int reusable, code;
    ssize_t got = read(c->fd, c->head + c->used, HEAD - 1 - c->used);
    if (got < 0 && errno == EAGAIN)
        return;
    if (c->request == NONE) { /* between requests: the server has closed it */
        hang_up(c);
        return;
    }
    if (got < 0) {
        ended(c, FAILED, 0);
        return;
    }
    c->used += got;
    code = status(c, !got, &reusable);
    if (code >= 0)
        ended(c, code == 200 ? OK : FAILED, reusable);
}

static void connected(struct connection *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        ended(c, FAILED, 0);
        return;
    }
    watch(c, EPOLLIN, EPOLL_CTL_MOD);
    send_request(c);
}

static int stdin_ended, begin;

static void wait_until(double until) {
    struct epoll_event events[256];
    double left = until - now();
    struct timespec time = {0, 0};
    if (left > 0) {
        time.tv_sec = (time_t)left;
        time.tv_nsec = (long)((left - time.tv_sec) * 1e9);
    }
    int got = epoll_pwait2(epoll_fd, events, 256, &time, NULL);
    for (int i = 0; i < got; i++) {
        int fd = events[i].data.fd;
        char ignored[256];
        if (fd == STDIN_FILENO) {
            begin = 1;
            if (read(fd, ignored, sizeof ignored) <= 0) {
                stdin_ended = 1;
                epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
            }
        } else if (of_fd[fd]) {
            if (of_fd[fd]->state == CONNECTING)
                connected(of_fd[fd]);
            else
                readable(of_fd[fd]);
        }
    }
}

/* Opens the connections in one burst; each gets its first request at once, as a client connects because it has one. */
static void open_kept(int many) {
    double limit = now() + 20, settled;
    int bad = 0;
    kept = calloc(many, sizeof *kept);
    for (int i = 0; i < many; i++) {
        kept[i] = (struct connection){.fd = NONE, .request = NONE, .first = NONE, .last = NONE, .kept = 1};
        start(&kept[i], add(now(), 0));
    }
    while (pending && now() < limit)
        wait_until(limit);
    for (int i = 0; i < many; i++)
        bad += requests[i].outcome != OK;
    if (bad) {
        fprintf(stderr, "%d of %d connections were not served\n", bad, many);
        exit(1);
    }
    for (settled = now() + .5; now() < settled;) /* until servers and proxies have nothing left to do */
        wait_until(settled);
    count = 0; /* those are not reported */
}

static void report(double began) {
    struct rusage used;
    for (int i = 0; i < count; i++) {
        struct request *r = &requests[i];
        double end = r->outcome == UNANSWERED ? now() : r->end;
        printf("%.0f %d %.0f %.0f %d\n", 1e6 * (r->due - began), r->service, 1e6 * (r->sent - r->due),
               1e6 * (end - r->due), r->outcome);
    }
    getrusage(RUSAGE_SELF, &used);
    printf("used %.3f\n", used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
}

int main(int argc, char **argv) {
    if (argc != 10) {
        fprintf(stderr, "openloop PORT SECONDS RATE CHEAP_US COSTLY_US COSTLY_SHARE KEPT TAIL SEED\n");
        return 2;
    }
    double seconds = atof(argv[2]), rate = atof(argv[3]), share = atof(argv[6]), tail = atof(argv[8]);
    int cheap = atoi(argv[4]), costly = atoi(argv[5]);
    uint64_t schedule = 88172645463325252ULL + strtoull(argv[9], NULL, 10) * 2654435761ULL, choice = ~schedule;
    struct rlimit limit = {DESCRIPTORS, DESCRIPTORS};
    struct epoll_event input = {.events = EPOLLIN, .data.fd = STDIN_FILENO};

    setrlimit(RLIMIT_NOFILE, &limit);
    prctl(PR_SET_TIMERSLACK, 1);
    address.sin_port = htons(atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    begin = !!epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input); /* fails for a file or /dev/null */
    if ((kept_count = atoi(argv[7]))) {
        open_kept(kept_count);
        printf("opened\n");
        fflush(stdout);
        while (!begin)
            wait_until(now() + 60);
    }

    double began = now(), end = began + seconds, next = began;
    printf("started %.6f\n", began);
    fflush(stdout);
    next += -log(1 - chance(&schedule)) / rate;
    while (next < end && !stdin_ended) { /* those that are due are sent even if the client is late for the end */
        for (double t = now(); next <= t && next < end;) {
            arrive(next, chance(&schedule) < share ? costly : cheap, &choice);
            next += -log(1 - chance(&schedule)) / rate;
        }
        wait_until(next < end ? next : end);
    }
    for (end = now() + tail; pending && now() < end;)
        wait_until(end);
    report(began);
    return 0;
}
