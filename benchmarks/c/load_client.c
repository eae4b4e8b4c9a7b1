/* Synchronous calls at full speed: load_client ENDPOINT SERVICE CALLS IN_FLIGHT BODY_BYTES TIMEOUT_S
 *
 * Keeps IN_FLIGHT requests under way on one DEALER, as a native zmws client sends them, until CALLS are
 * answered. Every body is different and every answer is checked: it must be the last frame of the
 * answer to its own request, once. Prints "CALLS SECONDS"; exits 1 if an answer was a FAIL or wrong,
 * 3 if TIMEOUT_S passed. */
#include "zmq_min.h"

static zmq_msg_t frames[FRAMES_MAX];
static char *body;
static size_t body_bytes;

static void set_body(long number)
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%010ld", number);
    memcpy(body, digits, (size_t)size < body_bytes ? (size_t)size : body_bytes);
}

/* number | "" | MDPC02 | 0x01 | SERVICE | body */
static void request(void *broker, const char *service, long number)
{
    char envelope[24];
    size_t size = (size_t)snprintf(envelope, sizeof envelope, "%ld", number);
    zmq_send(broker, envelope, size, ZMQ_SNDMORE);
    zmq_send(broker, "", 0, ZMQ_SNDMORE);
    zmq_send(broker, "MDPC02", 6, ZMQ_SNDMORE);
    zmq_send(broker, "\x01", 1, ZMQ_SNDMORE);
    zmq_send(broker, service, strlen(service), ZMQ_SNDMORE);
    set_body(number);
    zmq_send(broker, body, body_bytes, 0);
}

/* The frames of a wrong answer as text, for the last line of output. */
static void describe(char *text, size_t size, const char *fault, int count)
{
    size_t used = (size_t)snprintf(text, size, "%s:", fault);
    for (int i = 0; i < count && used < size; i++) {
        int shown = zmq_msg_size(&frames[i]) < 80 ? (int)zmq_msg_size(&frames[i]) : 80;
        used += (size_t)snprintf(text + used, size - used, " | %.*s", shown, (char *)zmq_msg_data(&frames[i]));
    }
}

/* number | "" | MDPC02 | 0x03 | SERVICE | ... | body. What is wrong with it, or NULL. */
static const char *fault_of_answer(int count, long calls, char *answered)
{
    char digits[24] = "";
    size_t size = zmq_msg_size(&frames[0]);
    if (count < 6 || zmq_msg_size(&frames[1]) != 0 || !frame_is(&frames[2], "MDPC02", 6) || size > 20)
        return "not an answer";
    memcpy(digits, zmq_msg_data(&frames[0]), size);
    long number = atol(digits);
    if (number < 0 || number >= calls || answered[number])
        return "an answer to no request of ours";
    answered[number] = 1;
    for (int i = 5; i < count; i++)
        if (zmq_msg_size(&frames[i]) >= 5 && memcmp(zmq_msg_data(&frames[i]), "FAIL:", 5) == 0)
            return "failed";
    set_body(number);
    if (!frame_is(&frames[3], "\x03", 1) || !frame_is(&frames[count - 1], body, body_bytes))
        return "a wrong answer";
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return fprintf(stderr, "usage: load_client ENDPOINT SERVICE CALLS IN_FLIGHT BODY_BYTES TIMEOUT_S\n"), 2;
    const char *service = argv[2];
    long calls = atol(argv[3]), in_flight = atol(argv[4]), sent = 0, done = 0, errors = 0;
    char first_fault[400] = "";
    body_bytes = (size_t)atol(argv[5]);
    body = malloc(body_bytes + 1);
    char *answered = calloc((size_t)calls + 1, 1);
    if (!body || !answered)
        die("memory");
    memset(body, 'x', body_bytes);
    init_frames(frames);
    void *broker = open_socket(zmq_ctx_new(), ZMQ_DEALER, argv[1]);
    zmq_pollitem_t items[] = {{broker, 0, ZMQ_POLLIN, 0}};
    double start = now_s(), give_up_at = start + atof(argv[6]);
    while (sent < calls && sent < in_flight)
        request(broker, service, sent++);
    while (done < calls) {
        double left = give_up_at - now_s();
        if (left <= 0) {
            fprintf(stderr, "gave up: %ld of %ld calls answered in %s s\n", done, calls, argv[6]);
            return 3;
        }
        if (zmq_poll(items, 1, (long)(left * 1000) + 1) < 0 && errno != EINTR)
            die("poll");
        for (int n = 0, count; n < 100 && (count = receive(broker, frames)) >= 0; n++) {
            const char *fault = fault_of_answer(count, calls, answered);
            if (fault && errors++ == 0)
                describe(first_fault, sizeof first_fault, fault, count);
            done++;
            if (sent < calls)
                request(broker, service, sent++);
        }
    }
    printf("%ld %.6f\n", calls, now_s() - start);
    if (errors)
        fprintf(stderr, "%ld of %ld calls failed; the first %s\n", errors, calls, first_fault);
    return errors ? 1 : 0;
}
