// Directories, and the inodes that paths name.
// A directory without a name of its own (removed, but somebody's working directory) contains nothing any more, not even
// . and .. , and takes nothing in. Names are compared as two 64-bit words, so the zeroes after a short one count.
#include "kernel/fs/buf.h"
#include "kernel/fs/inode.h"
#include "kernel/proc/proc.h"

#define ENTRY sizeof(struct dirent)

union entry {
  struct dirent dirent;
  uint64 word[2]; // the inode number is the low 16 bits of the first
};

struct inode *dirlookup(struct inode *dp, const struct dirent *key, uint *offset) {
  struct walk w = {.ip = dp};
  uint size = dp->size - dp->size % ENTRY;
  uint inum = 0;
  uint free = size, at = 0;
  union entry k = {.dirent = *key};
  if (dp->nlink == 0)
    size = 0;
  while (at < size && !inum) {
    uint end = size - at < BSIZE ? size : at + BSIZE;
    struct buf *b = walk_read(&w, at / BSIZE);
    if (!b) { // what is there can't be found, nor can anything be entered
      free = ~0u;
      break;
    }
    for (const union entry *e = (union entry *)b->data; at < end; e++, at += ENTRY) {
      if (e->dirent.inum == 0) {
        if (at < free)
          free = at;
      } else if ((e->word[0] ^ k.word[0]) < 1 << 16 && e->word[1] == k.word[1]) {
        inum = e->dirent.inum;
        break;
      }
    }
    brelse(b);
  }
  walk_end(&w);
  if (offset)
    *offset = inum ? at : free;
  return inum ? iget(dp->dev, inum) : 0;
}

int dir_set(struct inode *dp, uint offset, const struct dirent *entry) {
  return writei(dp, kernel_span(entry, ENTRY), offset) == ENTRY ? 0 : -1;
}

int dir_is_empty(struct inode *dp) {
  struct walk w = {.ip = dp};
  int empty = 1;
  for (uint at = 2 * ENTRY; at + ENTRY <= dp->size && empty;) {
    struct buf *b = walk_read(&w, at / BSIZE);
    if (!b) {
      empty = 0; // what can't be read may hold something
      break;
    }
    do {
      empty = ((struct dirent *)(b->data + at % BSIZE))->inum == 0;
      at += ENTRY;
    } while (empty && at % BSIZE && at + ENTRY <= dp->size);
    brelse(b);
  }
  walk_end(&w);
  return empty;
}

// Cuts the first name off a path: the rest, with no slash in front, and the name in key. 0 if there is no name left.
static const char *next_name(const char *path, struct dirent *key) {
  uint length = 0;
  while (*path == '/')
    path++;
  if (!*path)
    return 0;
  *key = (struct dirent){0};
  for (; *path && *path != '/'; path++)
    if (length < DIRSIZ)
      key->name[length++] = *path;
  while (*path == '/')
    path++;
  return path;
}

// Follows a path, up to its last name if `last` is given, which then holds that name.
static struct inode *follow(const char *path, struct dirent *last) {
  struct dirent key;
  struct inode *ip = *path == '/' ? iget(ROOTDEV, ROOTINO) : idup(myproc()->cwd);
  while ((path = next_name(path, &key))) {
    struct inode *next = 0;
    ilock(ip);
    if (last && !*path && ip->type == T_DIR) {
      iunlock(ip);
      *last = key;
      return ip;
    }
    if (ip->type == T_DIR)
      next = dirlookup(ip, &key, 0);
    iunlockput(ip);
    if (!next)
      return 0;
    ip = next;
  }
  if (!last)
    return ip;
  iput(ip); // "/" has no last name
  return 0;
}

struct inode *namei(const char *path) {
  return follow(path, 0);
}

struct inode *nameiparent(const char *path, struct dirent *last) {
  return follow(path, last);
}
