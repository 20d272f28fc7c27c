// Operations that reach the disk whole or not at all (fs/log.c). begin_op() and end_op() are in fs/fs_kernel.h.
#pragma once
#include "kernel/fs.h"
#include "kernel/param.h"
#include "kernel/types.h"

struct buf;

void log_init(const struct superblock *sb); // replays what a power cut left; the image's log must be sound
uint log_capacity(void);                    // blocks one operation may write at most

// An operation that will change at most `blocks` blocks; begin_op() and end_op() are for MAXOPBLOCKS. 0, or -1 with
// none begun if the file system has failed.
int log_begin(uint blocks);
void log_end(uint blocks);     // the same number
void log_write(struct buf *b); // b's content was changed, within an operation
int log_sync(void); // 0: everything that ended before is on disk, and survives a power cut; -1: it may not be
// Says in one line what the disk failed to do. The transaction under way never counts, nothing is written any more: the
// disk keeps the last commit (or what replaying the log makes of it), and who wants to change something is told -1.
void log_fail(const char *what, uint block);
