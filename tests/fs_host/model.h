// What a file system should do, in the simplest way: a tree of nodes in memory.
#pragma once
#include "kernel/fs.h"
#include "kernel/stat.h"

#define MODEL_ENTRIES 64

struct node {
  short type; // T_DIR, T_FILE, T_DEVICE
  int links;  // entries that name it; directories also count their subdirectories
  uint size;
  uchar *data;         // T_FILE: MAXFILE * BSIZE bytes
  struct node *parent; // T_DIR
  int count;           // T_DIR: entries but . and ..
  struct {
    char name[DIRSIZ + 1];
    struct node *node;
  } entry[MODEL_ENTRIES]; // sorted by name
};

extern struct node *model_root, *model_cwd;

void model_init(void);
struct node *model_find(const char *path);                    // 0 if there is none
struct node *model_parent(const char *path, char *last);      // where path's last name is or would be; 0 if nowhere
struct node *model_entry(struct node *dir, const char *name); // also . and ..
struct node *model_make(struct node *dir, const char *name, short type); // the name is free
void model_link(struct node *dir, const char *name, struct node *node);
void model_unlink(struct node *dir, const char *name);
int model_empty(const struct node *dir);

// One number for all a program can see of the tree: names, types, link counts, sizes, contents.
uint64 model_hash(void);
uint64 kernel_hash(void); // the same, asked of the kernel by system calls of a process with two free descriptors
