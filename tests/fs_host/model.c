// The model of model.h: every operation done the plain way, on nodes in memory.
#include "tests/fs_host/model.h"
#include "kernel/fcntl.h"
#include "tests/fs_host/shim.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEEP 256 // bytes of the longest path a hash walks

uint64 sys_open(void), sys_read(void), sys_close(void), sys_fstat(void), sys_chdir(void);

struct node *model_root, *model_cwd;

static struct node *new_node(short type) {
  struct node *node = calloc(1, sizeof *node);
  node->type = type;
  if (type == T_FILE)
    node->data = calloc(MAXFILE, BSIZE);
  return node;
}

void model_init(void) {
  model_root = new_node(T_DIR);
  model_root->links = 1;
  model_root->parent = model_root;
  model_cwd = model_root;
}

struct node *model_entry(struct node *dir, const char *name) {
  if (dir->links == 0)
    return 0;
  if (strcmp(name, ".") == 0)
    return dir;
  if (strcmp(name, "..") == 0)
    return dir->parent;
  for (int i = 0; i < dir->count; i++)
    if (strncmp(dir->entry[i].name, name, DIRSIZ) == 0)
      return dir->entry[i].node;
  return 0;
}

static struct node *walk(const char *path, char *last) {
  struct node *node = *path == '/' ? model_root : model_cwd;
  int any = 0;
  for (;;) {
    char name[DIRSIZ + 1] = {0};
    path += strspn(path, "/");
    size_t length = strcspn(path, "/");
    if (length == 0)
      return last && !any ? 0 : node;
    any = 1;
    memcpy(name, path, length < DIRSIZ ? length : DIRSIZ);
    path += length;
    if (node->type != T_DIR)
      return 0;
    if (last && path[strspn(path, "/")] == 0) {
      strcpy(last, name);
      return node;
    }
    if (!(node = model_entry(node, name)))
      return 0;
  }
}

struct node *model_find(const char *path) {
  return walk(path, 0);
}

struct node *model_parent(const char *path, char *last) {
  return walk(path, last);
}

void model_link(struct node *dir, const char *name, struct node *node) {
  int i = dir->count++;
  if (i == MODEL_ENTRIES)
    die("the model's directory is full");
  for (; i > 0 && strcmp(dir->entry[i - 1].name, name) > 0; i--)
    dir->entry[i] = dir->entry[i - 1];
  memset(dir->entry[i].name, 0, sizeof dir->entry[i].name);
  strcpy(dir->entry[i].name, name);
  dir->entry[i].node = node;
  node->links++;
}

struct node *model_make(struct node *dir, const char *name, short type) {
  struct node *node = new_node(type);
  model_link(dir, name, node);
  if (type == T_DIR) {
    node->parent = dir;
    dir->links++;
  }
  return node;
}

void model_unlink(struct node *dir, const char *name) {
  for (int i = 0; i < dir->count; i++)
    if (strcmp(dir->entry[i].name, name) == 0) {
      struct node *node = dir->entry[i].node;
      node->links--;
      if (node->type == T_DIR)
        dir->links--;
      memmove(&dir->entry[i], &dir->entry[i + 1], (--dir->count - i) * sizeof dir->entry[0]);
      return; // the node stays: descriptors may hold it
    }
}

int model_empty(const struct node *dir) {
  return dir->count == 0;
}

static uint64 mix(uint64 hash, const void *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    hash = (hash ^ ((const uchar *)p)[i]) * 0x100000001b3;
  return hash;
}

static uint64 mix_head(uint64 hash, const char *path, int type, int links, uint size) {
  int fields[3] = {type, links, type == T_FILE ? (int)size : 0};
  return mix(mix(hash, path, strlen(path) + 1), fields, sizeof fields);
}

static uint64 hash_node(uint64 hash, const struct node *node, const char *path) {
  hash = mix_head(hash, path, node->type, node->links, node->size);
  if (node->type == T_FILE)
    hash = mix(hash, node->data, node->size);
  for (int i = 0; i < node->count; i++) {
    char below[DEEP];
    snprintf(below, sizeof below, "%s/%s", path, node->entry[i].name);
    hash = hash_node(hash, node->entry[i].node, below);
  }
  return hash;
}

uint64 model_hash(void) {
  return hash_node(0xcbf29ce484222325, model_root, "");
}

static int by_name(const void *a, const void *b) {
  return strncmp(((const struct dirent *)a)->name, ((const struct dirent *)b)->name, DIRSIZ);
}

static uint64 hash_path(uint64 hash, const char *path) {
  struct stat st;
  uchar *window = (uchar *)ARENA_BAD - MAXFILE * BSIZE; // the end of user memory
  int fd = call(sys_open, (uint64)(*path ? path : "/"), O_RDONLY, 0);
  if (fd < 0)
    die("%s can't be opened", path);
  if (call(sys_fstat, fd, (uint64)window, 0) != 0)
    die("%s: fstat fails", path);
  memcpy(&st, window, sizeof st);
  hash = mix_head(hash, path, st.type, st.nlink, st.size);
  if (st.type == T_DEVICE) {
    call(sys_close, fd, 0, 0);
    return hash;
  }
  long n = call(sys_read, fd, (uint64)window, MAXFILE * BSIZE);
  if (n != (long)st.size)
    die("%s: %ld bytes read of %lu", path, n, st.size);
  call(sys_close, fd, 0, 0);
  if (st.type == T_FILE)
    return mix(hash, window, n);

  struct dirent *entries = malloc(n + 1);
  int count = 0;
  for (int i = 2; i < (int)(n / sizeof *entries); i++)
    if (((struct dirent *)window)[i].inum)
      entries[count++] = ((struct dirent *)window)[i];
  qsort(entries, count, sizeof *entries, by_name);
  for (int i = 0; i < count; i++) {
    char below[DEEP];
    snprintf(below, sizeof below, "%s/%.14s", path, entries[i].name);
    hash = hash_path(hash, below);
  }
  free(entries);
  return hash;
}

uint64 kernel_hash(void) {
  return hash_path(0xcbf29ce484222325, "");
}
