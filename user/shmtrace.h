// What the parts of shmtrace tell each other: a decoded view of the event table, records in order of time, and what
// is done with each. shmtrace.c runs the show, shmtrace_read.c merges rings, shmtrace_print.c makes text,
// shmtrace_stats.c counts.
#pragma once
#include "kernel/types.h"
#include "kernel/trace.h"
#include "kernel/trace_events.h"

// The table of events (shmtrace_print.c).
extern const struct trace_event_info event_table[];
extern const struct trace_value_info value_table[];
extern const int event_count, value_count;
extern const uint64 event_table_size, value_table_size; // bytes

// Bits of the events that a comma-separated list of names and categories means; 0 and a message if one is unknown.
uint64 events_named(char *list);

struct argument {
  char name[16];
  char kind[16];
  uint64 value;
};
int arguments_of(const struct trace_record *r, struct argument out[TRACE_ARGS]); // how many

// Output and names (shmtrace_print.c).
const char *name_of(int pid);
void name_process(int pid, const char *name);
void learn_names(const struct trace_record *r); // from forks and execs
void print_heading(void);
void print_record(const struct trace_record *r, const char *remark); // remark: 0 or text for the end of the line
void print_text(const char *s);
void print_flush(void);
void fatal(const char *what, const char *which) __attribute__((noreturn));

// Reading (shmtrace_read.c).
extern int hart_count;
uint64 lost_on(int hart);
void read_open(int from_now);                     // stand at the oldest records, or after the newest
void read_more(void);                             // fetch what the rings hold by now
struct trace_record *next_record(void);           // in order of time; 0 until read_more() brings more
void save_open(const char *path);                 // start a trace file
void save_records(struct trace_record *r, int n); // buffered
void save_close(void);

// Counting (shmtrace_stats.c).
enum step { WRITTEN = 1, QUEUED, TAKEN, MAPPED, BEGUN, FLAGGED, UNMAPPED, RELEASED };
enum step step_of(const struct trace_record *r); // which step of a request's life this record is, 0 if none
int client_of_server(int pid);                   // whose request the server with this pid works on now, 0 if none
const char *step_text(enum step step);
void count_record(const struct trace_record *r, enum step step);
void print_counts(void);
