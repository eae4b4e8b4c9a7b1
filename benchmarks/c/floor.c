/* The C floor: the least a broker over libzmq can do. floor CLIENT WORKER LIFETIME_S
 *
 * Forwards MDP/0.2 requests to the longest-waiting worker and answers back, a worker holding one at a
 * time. No services, no checks, no heartbeats, no deadlines, no store; a lost worker's request is lost. */
#include "zmq_min.h"

enum { SLOTS = 1 << 16, ENVELOPE_MAX = 4 };

/* A request on its way; its number in the table is the address that the worker echoes. */
struct slot { int envelope_frames; zmq_msg_t envelope[ENVELOPE_MAX], body; };
static struct slot slots[SLOTS];
static unsigned free_slots[SLOTS], free_count;
static unsigned waiting[SLOTS], waiting_head, waiting_tail;     /* rings: never more than SLOTS in them */
static zmq_msg_t workers[SLOTS];
static unsigned workers_head, workers_tail;
static zmq_msg_t frames[FRAMES_MAX];

/* routing id | envelope... | "" | MDPC02 | 0x01 | SERVICE | body */
static void on_request(int count)
{
    int header = 1;
    while (header < count && !frame_is(&frames[header], "MDPC02", 6))
        header++;
    if (header > ENVELOPE_MAX || header + 4 != count || free_count == 0)
        return;
    unsigned number = free_slots[--free_count];
    struct slot *slot = &slots[number];
    slot->envelope_frames = header;
    for (int i = 0; i < header; i++)
        zmq_msg_move(&slot->envelope[i], &frames[i]);
    zmq_msg_move(&slot->body, &frames[header + 3]);
    waiting[waiting_tail++ % SLOTS] = number;
}

/* routing id | MDPW02 | 0x01 | SERVICE   or   routing id | MDPW02 | 0x04 | address | "" | body */
static void on_worker(int count, void *clients)
{
    if (count < 3 || !frame_is(&frames[1], "MDPW02", 6))
        return;
    int final = count == 6 && frame_is(&frames[2], "\x04", 1);
    if (final) {
        char address[16] = "";
        size_t size = zmq_msg_size(&frames[3]);
        memcpy(address, zmq_msg_data(&frames[3]), size < 15 ? size : 15);
        unsigned number = (unsigned)atoi(address) % SLOTS;
        struct slot *slot = &slots[number];
        for (int i = 0; i < slot->envelope_frames; i++)
            zmq_msg_send(&slot->envelope[i], clients, ZMQ_SNDMORE);
        zmq_send(clients, "MDPC02", 6, ZMQ_SNDMORE);
        zmq_send(clients, "\x03", 1, ZMQ_SNDMORE);
        zmq_send(clients, "ECHO", 4, ZMQ_SNDMORE);
        zmq_msg_send(&frames[5], clients, 0);
        free_slots[free_count++] = number;
    }
    if (final || frame_is(&frames[2], "\x01", 1))
        zmq_msg_move(&workers[workers_tail++ % SLOTS], &frames[0]);
}

static void pair(void *worker_side)
{
    while (waiting_head != waiting_tail && workers_head != workers_tail) {
        unsigned number = waiting[waiting_head++ % SLOTS];
        char address[16];
        size_t size = (size_t)snprintf(address, sizeof address, "%u/1/0", number);
        zmq_msg_send(&workers[workers_head++ % SLOTS], worker_side, ZMQ_SNDMORE);
        zmq_send(worker_side, "MDPW02", 6, ZMQ_SNDMORE);
        zmq_send(worker_side, "\x02", 1, ZMQ_SNDMORE);
        zmq_send(worker_side, address, size, ZMQ_SNDMORE);
        zmq_send(worker_side, "", 0, ZMQ_SNDMORE);
        zmq_msg_send(&slots[number].body, worker_side, 0);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fprintf(stderr, "usage: floor CLIENT WORKER LIFETIME_S\n"), 2;
    alarm((unsigned)atoi(argv[3]));
    void *context = zmq_ctx_new();
    void *clients = open_socket(context, ZMQ_ROUTER, argv[1]);
    void *worker_side = open_socket(context, ZMQ_ROUTER, argv[2]);
    init_frames(frames);
    for (unsigned i = 0; i < SLOTS; i++) {
        for (int k = 0; k < ENVELOPE_MAX; k++)
            zmq_msg_init(&slots[i].envelope[k]);
        zmq_msg_init(&slots[i].body);
        zmq_msg_init(&workers[i]);
        free_slots[free_count++] = SLOTS - 1 - i;
    }
    zmq_pollitem_t items[] = {{clients, 0, ZMQ_POLLIN, 0}, {worker_side, 0, ZMQ_POLLIN, 0}};
    for (;;) {
        if (zmq_poll(items, 2, -1) < 0 && errno != EINTR)
            die("poll");
        int count;
        for (int n = 0; items[1].revents && n < 100 && (count = receive(worker_side, frames)) >= 0; n++)
            on_worker(count, clients);
        for (int n = 0; items[0].revents && n < 100 && (count = receive(clients, frames)) >= 0; n++)
            on_request(count);
        pair(worker_side);
    }
}
