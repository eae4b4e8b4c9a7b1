/* Calls or submits at full speed:
 *     load_client ENDPOINT SERVICE CALLS IN_FLIGHT BODY_BYTES TIMEOUT_S [ID_PREFIX]
 *
 * Keeps IN_FLIGHT requests under way on one DEALER, as a native zmws client sends them, until CALLS are
 * answered. Every body is different and every answer is checked. Of a call it must hold the body of its
 * own request, once. With an ID_PREFIX they are submits of jobs with ids, and the answer must be the
 * acceptance of that id, on disk and new. Prints "CALLS SECONDS P50_MS P99_MS MAX_MS CPU_S"; exits 1 if an
 * answer was a FAIL or wrong, 3 if TIMEOUT_S passed. */
#include "zmq_min.h"

static zmq_msg_t frames[FRAMES_MAX];
static char *body;
static size_t body_bytes;
static const char *id_prefix; /* NULL: calls */
static double *sent_at, *took;

static void set_body(long number)
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%010ld", number);
    memcpy(body, digits, (size_t)size < body_bytes ? (size_t)size : body_bytes);
}

/* number | "" | MDPC02 | 0x01 | SERVICE | [OPTS-JSON: {"id": ...} |] body */
static void request(void *broker, const char *service, long number)
{
    char envelope[24];
    size_t size = (size_t)snprintf(envelope, sizeof envelope, "%ld", number);
    zmq_send(broker, envelope, size, ZMQ_SNDMORE);
    zmq_send(broker, "", 0, ZMQ_SNDMORE);
    zmq_send(broker, "MDPC02", 6, ZMQ_SNDMORE);
    zmq_send(broker, "\x01", 1, ZMQ_SNDMORE);
    zmq_send(broker, service, strlen(service), ZMQ_SNDMORE);
    if (id_prefix) {
        char options[200];
        int length = snprintf(options, sizeof options, "OPTS-JSON: {\"id\": \"%s%010ld\"}", id_prefix, number);
        zmq_send(broker, options, (size_t)length, ZMQ_SNDMORE);
    }
    set_body(number);
    zmq_send(broker, body, body_bytes, 0);
    sent_at[number] = now_s();
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

/* JOB: ID SERVICE | OPTS-JSON: {...} */
static int is_accepted(int count, const char *service, long number)
{
    char first[400];
    int size = snprintf(first, sizeof first, "JOB: %s%010ld %s", id_prefix, number, service);
    if (count != 7 || !frame_is(&frames[5], first, (size_t)size))
        return 0;
    char note[200] = "";
    size_t length = zmq_msg_size(&frames[6]);
    if (length >= sizeof note)
        return 0;
    memcpy(note, zmq_msg_data(&frames[6]), length);
    return strstr(note, "\"disk\"") != NULL && strstr(note, "\"existing\": true") == NULL;
}

/* number | "" | MDPC02 | 0x03 | SERVICE | ... | body. What is wrong with it, or NULL. */
static const char *fault_of_answer(int count, const char *service, long calls, char *answered)
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
    took[number] = now_s() - sent_at[number];
    for (int i = 5; i < count; i++)
        if (zmq_msg_size(&frames[i]) >= 5 && memcmp(zmq_msg_data(&frames[i]), "FAIL:", 5) == 0)
            return "failed";
    if (id_prefix)
        return is_accepted(count, service, number) ? NULL : "not accepted as a new job on disk";
    set_body(number);
    if (!frame_is(&frames[3], "\x03", 1) || !frame_is(&frames[count - 1], body, body_bytes))
        return "a wrong answer";
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 7 && argc != 8) {
        fprintf(stderr, "usage: load_client ENDPOINT SERVICE CALLS IN_FLIGHT BODY_BYTES TIMEOUT_S [ID_PREFIX]\n");
        return 2;
    }
    const char *service = argv[2];
    long calls = atol(argv[3]), in_flight = atol(argv[4]), sent = 0, done = 0, errors = 0;
    char first_fault[400] = "";
    body_bytes = (size_t)atol(argv[5]);
    id_prefix = argc == 8 ? argv[7] : NULL;
    body = malloc(body_bytes + 1);
    char *answered = calloc((size_t)calls + 1, 1);
    sent_at = calloc((size_t)calls + 1, sizeof *sent_at);
    took = calloc((size_t)calls + 1, sizeof *took);
    if (!body || !answered || !sent_at || !took)
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
            const char *fault = fault_of_answer(count, service, calls, answered);
            if (fault && errors++ == 0)
                describe(first_fault, sizeof first_fault, fault, count);
            done++;
            if (sent < calls)
                request(broker, service, sent++);
        }
    }
    double seconds = now_s() - start, cpu_s = (double)clock() / CLOCKS_PER_SEC;
    qsort(took, (size_t)calls, sizeof *took, ascending);
    double p50 = took[calls / 2], p99 = took[calls * 99 / 100], max = took[calls - 1];
    printf("%ld %.6f %.3f %.3f %.3f %.3f\n", calls, seconds, p50 * 1e3, p99 * 1e3, max * 1e3, cpu_s);
    if (errors)
        fprintf(stderr, "%ld of %ld calls failed; the first %s\n", errors, calls, first_fault);
    return errors ? 1 : 0;
}
