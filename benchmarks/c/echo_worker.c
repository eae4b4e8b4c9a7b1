/* A strict RFC 18 worker that echoes: echo_worker ENDPOINT SERVICE LIFETIME_S [ANSWER]
 *
 * READY, then a FINAL with the same address and body (or the ANSWER) for every REQUEST; HEARTBEAT every second, busy or
 * idle; READY again after a DISCONNECT. Prints "working" once, at its first request. */
#include "zmq_min.h"

static zmq_msg_t frames[FRAMES_MAX];

static void say(void *broker, const char *command, const char *service)
{
    zmq_send(broker, "MDPW02", 6, ZMQ_SNDMORE);
    zmq_send(broker, command, 1, service ? ZMQ_SNDMORE : 0);
    if (service)
        zmq_send(broker, service, strlen(service), 0);
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5)
        return fprintf(stderr, "usage: echo_worker ENDPOINT SERVICE LIFETIME_S [ANSWER]\n"), 2;
    alarm((unsigned)atoi(argv[3]));
    void *broker = open_socket(zmq_ctx_new(), ZMQ_DEALER, argv[1]);
    const char *service = argv[2], *answer = argc == 5 ? argv[4] : NULL;
    int worked = 0;
    init_frames(frames);
    say(broker, "\x01", service);
    double heartbeat_at = now_s() + 1;
    zmq_pollitem_t items[] = {{broker, 0, ZMQ_POLLIN, 0}};
    for (;;) {
        double now = now_s();
        if (now >= heartbeat_at) {
            say(broker, "\x05", NULL);
            heartbeat_at = now + 1;
        }
        if (zmq_poll(items, 1, (long)((heartbeat_at - now) * 1000) + 1) < 0 && errno != EINTR)
            die("poll");
        for (int n = 0, count; n < 100 && (count = receive(broker, frames)) >= 0; n++) {
            if (count < 2 || !frame_is(&frames[0], "MDPW02", 6))
                continue;
            if (frame_is(&frames[1], "\x06", 1)) {
                usleep(100000); /* a broker that refuses us must not be flooded */
                say(broker, "\x01", service);
            } else if (frame_is(&frames[1], "\x02", 1) && count >= 4) {
                zmq_send(broker, "MDPW02", 6, ZMQ_SNDMORE);
                zmq_send(broker, "\x04", 1, ZMQ_SNDMORE);
                int echoed = answer ? 4 : count; /* the address and the empty frame, at least */
                for (int i = 2; i < echoed; i++)
                    zmq_msg_send(&frames[i], broker, answer || i + 1 < count ? ZMQ_SNDMORE : 0);
                if (answer)
                    zmq_send(broker, answer, strlen(answer), 0);
                if (!worked++) {
                    puts("working");
                    fflush(stdout);
                }
            }
        }
    }
}
