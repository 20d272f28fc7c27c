// The file system as the rest of the kernel uses it: start-up, open files, inodes by path.
// Lock order: an operation is begun before any inode is locked and ended after all are unlocked; a directory is locked
// before what it contains; no spinlock is held on entry, since everything here may sleep but filedup() and idup().
#pragma once
#include "kernel/file.h"
#include "kernel/mm/user.h"
#include "kernel/stat.h"

// Start-up. The first three before kinit(), in any order; fsinit() in the first process, since it waits for the disk:
// it reads the superblock, replays the log and frees the inodes that a power cut left without a name.
// An image that is not a file system ends the machine with one line.
void binit(void);
void iinit(void);
void fileinit(void);
void fsinit(int dev);

// Open files (fs/file.c).
struct file *filealloc(void); // type FD_NONE, one reference; 0 if none is free
struct file *filedup(struct file *f);
void fileclose(struct file *f);
int fileread(struct file *f, struct span dst);  // bytes read, 0 at the end, or -1
int filewrite(struct file *f, struct span src); // bytes written, or -1
int filestat(struct file *f, struct stat *st);  // 0, or -1

// Inodes (fs/inode.c). Reading needs no operation around it.
struct inode *idup(struct inode *ip);
void ilock(struct inode *ip); // type is 0 afterwards if the disk or the image fails us
void iunlock(struct inode *ip);
void iput(struct inode *ip); // an inode without name or reference is freed by the next end_op() or iput_op()
// iput(), then frees what can be; outside an operation, no inode locked. exec and exit want this.
void iput_op(struct inode *ip);
void iunlockput(struct inode *ip);
int readi(struct inode *ip, struct span dst, uint32 offset); // ip locked; bytes read, fewer at the end, or -1
void stati(struct inode *ip, struct stat *st);               // ip locked

// Paths (fs/dir.c): a referenced, unlocked inode, or 0. Inside or outside an operation.
struct inode *namei(const char *path);

// Everything between these two reaches the disk whole or not at all. begin_op() waits for room in the log; end_op()
// waits until it is on disk unless another operation is under way. After the disk has failed to write nothing can be
// changed any more: begin_op() gives -1, with no operation begun; else 0.
int begin_op(void);
void end_op(void);
