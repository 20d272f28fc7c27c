// shmtrace's input: the rings of all harts, merged in order of time; and the trace file it saves.
#include "user/shmtrace.h"
#include "kernel/info.h"
#include "kernel/param.h"
#include "kernel/fcntl.h"
#include "user/user.h"

#define BATCH 4096 // records kept of each hart at most

// Records of one hart that have been read but not handed out.
static struct stream {
  struct trace_cursor cursor;
  struct trace_record *records;
  int next, count;
} streams[NCPU];

int hart_count;
static uint64 horizon; // records after this time may still be overtaken by another hart's

uint64 lost_on(int hart) {
  return streams[hart].cursor.lost;
}

static void learn_processes(void) {
  static struct procinfo rows[NPROC];
  int n = procinfo(rows, NPROC);
  for (int i = 0; i < n; i++)
    name_process(rows[i].pid, rows[i].name);
}

void read_open(int from_now) {
  learn_processes();
  for (hart_count = 0; hart_count < NCPU; hart_count++) {
    struct stream *s = &streams[hart_count];
    uint64 head = trace_control(TRACE_HEAD, hart_count);
    if (head == -1UL)
      break;
    s->cursor.position = from_now ? head : 0;
    s->records = malloc(BATCH * sizeof(struct trace_record));
    if (!s->records)
      fatal("out of memory", "");
  }
}

// An interrupt in the middle of an emission leaves two records the wrong way round; few are, and not by far.
static void sort_by_time(struct trace_record *r, int n) {
  for (int i = 1; i < n; i++) {
    struct trace_record moved = r[i];
    int j;
    for (j = i; j > 0 && r[j - 1].time > moved.time; j--)
      r[j] = r[j - 1];
    r[j] = moved;
  }
}

void read_more(void) {
  horizon = trace_control(TRACE_NOW, 0);
  for (int i = 0; i < hart_count; i++) {
    struct stream *s = &streams[i];
    s->count -= s->next;
    memmove(s->records, s->records + s->next, s->count * sizeof(struct trace_record));
    s->next = 0;
    int n = trace_read(i, &s->cursor, s->records + s->count, BATCH - s->count);
    if (n > 0)
      s->count += n;
    sort_by_time(s->records, s->count);
  }
}

struct trace_record *next_record(void) {
  struct stream *first = 0;
  for (int i = 0; i < hart_count; i++) {
    struct stream *s = &streams[i];
    if (s->next < s->count && (!first || s->records[s->next].time < first->records[first->next].time))
      first = s;
  }
  if (!first || first->records[first->next].time > horizon)
    return 0;
  return &first->records[first->next++];
}

// The trace file: see kernel/trace.h.
static const char *save_path;
static int save_fd;
static struct trace_record saved[32];
static int saved_count;

static void save_bytes(const void *p, uint64 n) {
  if (n > 0 && write(save_fd, p, n) != (int)n)
    fatal("cannot write ", save_path);
}

static void save_chunk(const char *tag, const void *p, uint64 n) {
  struct trace_chunk chunk = {.length = n};
  memmove(chunk.tag, tag, strlen(tag));
  save_bytes(&chunk, sizeof(chunk));
  save_bytes(p, n);
}

void save_open(const char *path) {
  static struct procinfo rows[NPROC];
  static struct trace_process processes[NPROC];
  uint64 magic = TRACE_FILE_MAGIC;
  save_path = path;
  save_fd = open(path, O_CREATE | O_TRUNC | O_WRONLY);
  if (save_fd < 0)
    fatal("cannot create ", path);
  save_bytes(&magic, sizeof(magic));
  save_chunk("events", event_table, event_table_size);
  save_chunk("values", value_table, value_table_size);
  int n = procinfo(rows, NPROC);
  for (int i = 0; i < n; i++) {
    processes[i] = (struct trace_process){.size = rows[i].size, .pid = rows[i].pid, .parent = rows[i].parent};
    processes[i].time = trace_control(TRACE_NOW, 0);
    memmove(processes[i].name, rows[i].name, sizeof(processes[i].name));
  }
  save_chunk("process", processes, n > 0 ? n * sizeof(processes[0]) : 0);
}

static void save_flush(void) {
  if (saved_count > 0)
    save_chunk("records", saved, saved_count * sizeof(saved[0]));
  saved_count = 0;
}

void save_records(struct trace_record *r, int n) {
  for (int i = 0; i < n; i++) {
    saved[saved_count++] = r[i];
    if (saved_count == sizeof(saved) / sizeof(saved[0]))
      save_flush();
  }
}

void save_close(void) {
  struct trace_loss losses[NCPU];
  save_flush();
  for (int i = 0; i < hart_count; i++)
    losses[i] = (struct trace_loss){.hart = i, .lost = lost_on(i)};
  save_chunk("lost", losses, hart_count * sizeof(losses[0]));
  close(save_fd);
}
