/* The part of libzmq 4.x's C interface that the benchmarks use, declared by hand: a Python
 * installation ships the library (inside pyzmq) but not its zmq.h. */
#ifndef ZMQ_MIN_H
#define ZMQ_MIN_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ZMQ_DEALER = 5, ZMQ_ROUTER = 6 };
enum { ZMQ_LINGER = 17, ZMQ_SNDHWM = 23, ZMQ_RCVHWM = 24 };
enum { ZMQ_DONTWAIT = 1, ZMQ_SNDMORE = 2, ZMQ_POLLIN = 1 };

/* Opaque to us; 64 bytes aligned to a pointer in every libzmq 4.x. */
typedef union { unsigned char bytes[64]; void *align; } zmq_msg_t;
typedef struct { void *socket; int fd; short events; short revents; } zmq_pollitem_t;

void *zmq_ctx_new(void);
void *zmq_socket(void *context, int type);
int zmq_setsockopt(void *socket, int option, const void *value, size_t size);
int zmq_bind(void *socket, const char *endpoint);
int zmq_connect(void *socket, const char *endpoint);
int zmq_close(void *socket);
int zmq_send(void *socket, const void *data, size_t size, int flags);
int zmq_poll(zmq_pollitem_t *items, int count, long timeout_ms);
int zmq_msg_init(zmq_msg_t *msg);
int zmq_msg_move(zmq_msg_t *to, zmq_msg_t *from);
int zmq_msg_send(zmq_msg_t *msg, void *socket, int flags);
int zmq_msg_recv(zmq_msg_t *msg, void *socket, int flags);
int zmq_msg_more(const zmq_msg_t *msg);
void *zmq_msg_data(zmq_msg_t *msg);
size_t zmq_msg_size(const zmq_msg_t *msg);
const char *zmq_strerror(int error);

#define FRAMES_MAX 16

static inline void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, zmq_strerror(errno));
    exit(1);
}

/* A socket without high-water marks (a ROUTER would drop at them), bound or connected. */
static inline void *open_socket(void *context, int type, const char *endpoint)
{
    int none = 0;
    void *socket = zmq_socket(context, type);
    if (!socket)
        die("socket");
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &none, sizeof none);
    if ((type == ZMQ_ROUTER ? zmq_bind : zmq_connect)(socket, endpoint) != 0)
        die(endpoint);
    return socket;
}

static inline void init_frames(zmq_msg_t *frames)
{
    for (int i = 0; i < FRAMES_MAX; i++)
        zmq_msg_init(&frames[i]);
}

/* One whole message into `frames` (initialised once, reused ever after), without waiting.
 * Its number of frames; -1: none there. More than FRAMES_MAX frames count as 0: drop it. */
static inline int receive(void *socket, zmq_msg_t *frames)
{
    int count = 0;
    for (;;) {
        zmq_msg_t *frame = &frames[count < FRAMES_MAX ? count : FRAMES_MAX - 1];
        if (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0) {
            if (errno == EAGAIN || errno == EINTR)
                return -1;
            die("recv");
        }
        count++;
        if (!zmq_msg_more(frame))
            return count <= FRAMES_MAX ? count : 0;
    }
}

static inline int frame_is(zmq_msg_t *frame, const char *data, size_t size)
{
    return zmq_msg_size(frame) == size && memcmp(zmq_msg_data(frame), data, size) == 0;
}

static inline double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#endif
