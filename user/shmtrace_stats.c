// The life of a request, and what shmtrace -c prints: how often each event came, and how long each stage of the
// requests took. A server works on one request at a time, so what it does belongs to the request it took last.
#include "user/shmtrace.h"
#include "kernel/crypto.h"
#include "user/user.h"

#define SERVERS 4  // that may be seen in one trace: pid 2, and what a test runs in its place
#define PENDING 64 // requests whose end is awaited
#define TICKS_PER_US 10
#define BAR 40 // characters of the longest histogram bar

static struct {
  int pid, client;
  uint64 request;
  int flagged;
} servers[SERVERS];

static int server_slot(int pid) {
  for (int i = 0; i < SERVERS; i++)
    if (servers[i].pid == pid && servers[i].client)
      return i;
  return -1;
}

int client_of_server(int pid) {
  int i = server_slot(pid);
  return i < 0 ? 0 : servers[i].client;
}

static void take(const struct trace_record *r) {
  int i = server_slot(r->pid);
  for (int j = 0; i < 0 && j < SERVERS; j++)
    if (!servers[j].client)
      i = j;
  if (i < 0)
    i = 0;
  servers[i].pid = r->pid;
  servers[i].client = r->args[1];
  servers[i].request = r->args[0];
}

enum step step_of(const struct trace_record *r) {
  int serving = server_slot(r->pid) >= 0;
  switch (r->event) {
  case TRACE_ENQUEUE:
    return QUEUED;
  case TRACE_DEQUEUE:
    take(r);
    return TAKEN;
  case TRACE_MAP:
    return serving ? MAPPED : 0;
  case TRACE_STATE:
    if (r->args[1] == CRYPTO_OP_STATE_INIT)
      return serving ? BEGUN : WRITTEN;
    return serving ? FLAGGED : 0;
  case TRACE_UNMAP:
    return serving ? UNMAPPED : 0;
  case TRACE_COMPLETE:
    return RELEASED;
  default:
    return 0;
  }
}

const char *step_text(enum step step) {
  static const char *texts[] = {
      [WRITTEN] = "1 request written",    [QUEUED] = "2 queued",
      [TAKEN] = "3 taken by the server",  [MAPPED] = "4 client's pages mapped",
      [BEGUN] = "5 header read, at work", [FLAGGED] = "6 flag raised",
      [UNMAPPED] = "7 unmapped",          [RELEASED] = "8 client released",
  };
  return step ? texts[step] : 0;
}

// When each pending request passed each step; 0: not yet.
static struct request {
  uint64 id;
  uint64 time[RELEASED + 1];
} pending[PENDING];
static int next_slot;

// Times, in ticks, that one stage took.
static struct stage {
  const char *name;
  enum step from, to;
  uint32 *times;
  int count, room;
} stages[] = {
    {"enqueue to dequeue", QUEUED, TAKEN, 0, 0, 0},
    {"dequeue to state", TAKEN, FLAGGED, 0, 0, 0},
    {"state to unmap", FLAGGED, UNMAPPED, 0, 0, 0},
    {"enqueue to unmap", QUEUED, UNMAPPED, 0, 0, 0},
};
#define STAGES ((int)(sizeof(stages) / sizeof(stages[0])))

static uint64 counts[64];

static void add_time(struct stage *s, uint64 ticks) {
  if (s->count == s->room) {
    int room = s->room ? 2 * s->room : 64;
    uint32 *times = malloc(room * sizeof(times[0]));
    if (!times)
      fatal("out of memory", "");
    memmove(times, s->times, s->count * sizeof(times[0]));
    free(s->times);
    s->times = times;
    s->room = room;
  }
  s->times[s->count++] = ticks > 0xffffffffUL ? 0xffffffffU : ticks;
}

static struct request *request_of(const struct trace_record *r, enum step step) {
  uint64 id = r->args[0];
  if (step != QUEUED && step != TAKEN && step != RELEASED) {
    int i = server_slot(r->pid);
    if (i < 0)
      return 0;
    id = servers[i].request;
  }
  for (int i = 0; i < PENDING; i++)
    if (pending[i].id == id && pending[i].time[QUEUED])
      return &pending[i];
  if (step != QUEUED)
    return 0; // began before the trace
  struct request *q = &pending[next_slot++ % PENDING];
  memset(q, 0, sizeof(*q));
  q->id = id;
  return q;
}

void count_record(const struct trace_record *r, enum step step) {
  if (r->event < 64)
    counts[r->event]++;
  struct request *q = step ? request_of(r, step) : 0;
  if (q) {
    q->time[step] = r->time;
    for (int i = 0; i < STAGES; i++)
      if (stages[i].to == step && q->time[stages[i].from])
        add_time(&stages[i], r->time - q->time[stages[i].from]);
    if (step == RELEASED)
      memset(q, 0, sizeof(*q));
  }
  if (step == RELEASED) {
    int i = server_slot(r->pid);
    if (i >= 0 && servers[i].request == r->args[0])
      servers[i].client = 0;
  }
}

static void sift(uint32 *v, int i, int n) {
  for (int child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && v[child + 1] > v[child])
      child++;
    if (v[i] >= v[child])
      return;
    uint32 moved = v[i];
    v[i] = v[child];
    v[child] = moved;
  }
}

static void heap_sort(uint32 *v, int n) {
  for (int i = n / 2 - 1; i >= 0; i--)
    sift(v, i, n);
  for (int end = n - 1; end > 0; end--) {
    uint32 largest = v[0];
    v[0] = v[end];
    v[end] = largest;
    sift(v, 0, end);
  }
}

static void print_us(uint32 ticks) {
  printf(" %7u.%u", ticks / TICKS_PER_US, ticks % TICKS_PER_US);
}

// One bar for each power of two of microseconds; times are sorted.
static void print_histogram(const struct stage *s) {
  int longest = 0, boxes[33] = {0}, first = 32, last = 0;
  for (int i = 0; i < s->count; i++) {
    int box = 0;
    while (s->times[i] / TICKS_PER_US >> box)
      box++;
    boxes[box]++;
    longest = boxes[box] > longest ? boxes[box] : longest;
    first = box < first ? box : first;
    last = box > last ? box : last;
  }
  printf("\n%s, histogram\n", s->name);
  for (int box = first; box <= last; box++) {
    char bar[BAR + 1];
    int n = (boxes[box] * BAR + longest - 1) / longest;
    memset(bar, '#', n);
    bar[n] = 0;
    printf("%9d us and more %6d %s\n", box ? 1 << (box - 1) : 0, boxes[box], bar);
  }
}

void print_counts(void) {
  printf("%-14s %8s\n", "event", "count");
  for (int i = 0; i < event_count; i++)
    if (counts[event_table[i].id])
      printf("%-14s %8lu\n", event_table[i].name, counts[event_table[i].id]);
  struct stage *whole = &stages[STAGES - 1];
  if (whole->count == 0)
    return;
  printf("\n%-20s %6s %9s %9s %9s %9s  (us)\n", "requests", "count", "min", "median", "p99", "max");
  for (int i = 0; i < STAGES; i++) {
    struct stage *s = &stages[i];
    if (s->count == 0)
      continue;
    heap_sort(s->times, s->count);
    printf("%-20s %6d", s->name, s->count);
    print_us(s->times[0]);
    print_us(s->times[s->count / 2]);
    print_us(s->times[(s->count * 99 - 1) / 100]);
    print_us(s->times[s->count - 1]);
    printf("\n");
  }
  print_histogram(whole);
}
