// usertests: directories and paths.
#include "user/usertests.h"
#include "kernel/fcntl.h"
#include "kernel/fs.h"
#include "kernel/stat.h"

static void touch(const char *name) {
  int fd = open(name, O_CREATE | O_RDWR);
  if (fd < 0)
    FAIL("cannot create %s", name);
  close(fd);
}

static int exists(const char *name) {
  struct stat st;
  return stat(name, &st) == 0;
}

static uint inode_of(const char *name) {
  struct stat st;
  if (stat(name, &st) < 0)
    FAIL("%s is not there", name);
  return st.ino;
}

// Names are cut after DIRSIZ bytes, the same way when made and when looked up.
static void name_length(void) {
  touch("abcdefghijklm");
  touch("abcdefghijklmn");
  CHECK(inode_of("abcdefghijklm") != inode_of("abcdefghijklmn"));
  WANT(inode_of("abcdefghijklmno"), inode_of("abcdefghijklmn"));
  WANT(inode_of("abcdefghijklmnopqrstuvwxyz"), inode_of("abcdefghijklmn"));
  FAILS(mkdir("abcdefghijklmnXX"));
  FAILS(link("abcdefghijklm", "abcdefghijklmnYY"));
  WANT(unlink("abcdefghijklmnZ"), 0);
  CHECK(!exists("abcdefghijklmn"));
  WANT(unlink("abcdefghijklm"), 0);
  WANT(mkdir("12345678901234567"), 0);
  touch("12345678901234/file");
  WANT(inode_of("12345678901234/file"), inode_of("1234567890123499/file"));
  WANT(unlink("123456789012345/file"), 0);
  WANT(unlink("12345678901234"), 0);
}

// Paths: repeated and trailing slashes, dots, up and down, longest and one longer.
static void path_forms(void) {
  WANT(mkdir("a"), 0);
  WANT(mkdir("a/b"), 0);
  touch("a/b/f");
  uint f = inode_of("a/b/f");
  WANT(inode_of("./a/./b/./f"), f);
  WANT(inode_of("a//b////f"), f);
  WANT(inode_of("a/../a/b/../b/f"), f);
  WANT(inode_of("/usertests.d/a/b/f"), f);
  WANT(inode_of("/../../usertests.d/a/b/f"), f);
  WANT(inode_of("a/"), inode_of("a"));
  WANT(inode_of("/.."), inode_of("/"));
  WANT(inode_of("a/b/.."), inode_of("a"));
  FAILS(open("a/b/f/x", O_RDONLY));
  FAILS(open("a/b/f/..", O_RDONLY));
  FAILS(open("a/b/f/x", O_CREATE | O_RDWR));
  FAILS(mkdir("a/b/f/x"));
  FAILS(mkdir("missing/x"));
  FAILS(mkdir("a"));
  FAILS(mkdir("/"));
  FAILS(mkdir("."));
  FAILS(open("a", O_CREATE | O_RDWR));
  char path[MAXPATH + 2];
  memset(path, '/', sizeof(path));
  path[MAXPATH - 1] = 0;
  WANT(inode_of(path), inode_of("/")); // the longest
  memmove(path, "./", 2);
  for (int i = 2; i < MAXPATH - 3; i += 2)
    memmove(path + i, "./", 2);
  strcpy(path + MAXPATH - 2, "a");
  WANT(inode_of(path), inode_of("a"));
  strcpy(path + MAXPATH - 2, "/a");
  FAILS(open(path, O_RDONLY));
  FAILS(mkdir(path));
  FAILS(chdir(path));
  FAILS(unlink(path));
  FAILS(link(path, "x"));
  FAILS(link("a/b/f", path));
  FAILS(mknod(path, 1, 1));
  FAILS(exec(path, 0));
  WANT(unlink("a/b/f"), 0);
  WANT(unlink("a/b"), 0);
  WANT(unlink("a"), 0);
}

// What a directory reads as: its entries, each once, dot and dot-dot among them. It cannot be written or linked.
static void dir_read(void) {
  struct dirent entry;
  int dots = 0, files = 0;
  char name[] = "file-00";
  WANT(mkdir("d"), 0);
  WANT(chdir("d"), 0);
  for (int i = 0; i < 20; i++) {
    name[5] = 'a' + i;
    touch(name);
  }
  int fd = open(".", O_RDONLY);
  while (read(fd, &entry, sizeof(entry)) == sizeof(entry)) {
    if (entry.inum == 0)
      continue;
    dots += entry.name[0] == '.';
    files += entry.name[0] == 'f';
  }
  WANT(dots, 2);
  WANT(files, 20);
  FAILS(write(fd, &entry, sizeof(entry)));
  close(fd);
  for (int i = 0; i < 20; i++) {
    name[5] = 'a' + i;
    WANT(unlink(name), 0);
  }
  WANT(chdir(".."), 0);
  FAILS(open("d", O_WRONLY));
  FAILS(open("d", O_RDWR));
  FAILS(open("d", O_RDONLY | O_CREATE));
  FAILS(link("d", "e"));
  FAILS(link(".", "e"));
  WANT(unlink("d"), 0);
}

static void remove_rules(void) {
  WANT(mkdir("d"), 0);
  WANT(mkdir("d/e"), 0);
  FAILS(unlink("d"));
  FAILS(unlink("d/."));
  FAILS(unlink("d/e/.."));
  FAILS(unlink("."));
  FAILS(unlink(".."));
  FAILS(unlink("/"));
  FAILS(unlink(""));
  touch("d/f");
  WANT(unlink("d/e"), 0);
  FAILS(unlink("d"));
  WANT(unlink("d/f"), 0);
  WANT(unlink("d"), 0);
  FAILS(chdir("d"));
  FAILS(unlink("d"));
}

// A directory counts its own entry and the .. of each directory in it.
static void dir_links(void) {
  struct stat st;
  WANT(mkdir("d"), 0);
  WANT(stat("d", &st), 0);
  WANT(st.type, T_DIR);
  int alone = st.nlink;
  WANT(mkdir("d/a"), 0);
  WANT(mkdir("d/b"), 0);
  WANT(stat("d", &st), 0);
  WANT(st.nlink, alone + 2);
  WANT(unlink("d/a"), 0);
  WANT(unlink("d/b"), 0);
  WANT(stat("d", &st), 0);
  WANT(st.nlink, alone);
  WANT(unlink("d"), 0);
}

static void change_dir(void) {
  uint here = inode_of(".");
  touch("f");
  FAILS(chdir("f"));
  FAILS(chdir("missing"));
  WANT(inode_of("."), here);
  WANT(mkdir("d"), 0);
  WANT(chdir("d"), 0);
  WANT(mkdir("e"), 0);
  WANT(chdir("e"), 0);
  WANT(inode_of("../.."), here);
  int pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    WANT(chdir("/"), 0); // the child's alone
    exit(0);
  }
  WANT(finish(pid), 0);
  WANT(inode_of("../.."), here);
  WANT(chdir("../.."), 0);
  WANT(unlink("d/e"), 0);
  WANT(unlink("d"), 0);
  WANT(unlink("f"), 0);
}

// A directory that was removed while someone is in it is a dead end: nothing can be made there that would be lost, and
// what replaces its parent is not reached through it.
static void removed_cwd(void) {
  WANT(mkdir("p"), 0);
  WANT(mkdir("p/d"), 0);
  WANT(chdir("p/d"), 0);
  WANT(unlink("../../p/d"), 0);
  WANT(unlink("/usertests.d/p"), 0);
  touch("/usertests.d/other"); // takes the freed inode of p
  put_file("/usertests.d/more", 2000, 1);
  struct stat st;
  int fd = open("..", O_RDONLY);
  if (fd >= 0) {
    WANT(fstat(fd, &st), 0);
    WANT(st.type, T_DIR);
    close(fd);
  }
  FAILS(open("f", O_CREATE | O_RDWR));
  FAILS(mkdir("e"));
  FAILS(mknod("n", 1, 1));
  FAILS(link("/usertests.d/other", "l"));
  FAILS(open("../f", O_CREATE | O_RDWR));
  FAILS(mkdir("../e"));
  FAILS(open("f", O_RDONLY));
  FAILS(unlink("f"));
  WANT(chdir("/usertests.d"), 0);
  want_file("more", 2000, 1);
  WANT(unlink("more"), 0);
  WANT(unlink("other"), 0);
}

// Deep: the tree goes down as far as paths of the longest length can follow, and comes up again.
static void dir_deep(void) {
  for (int i = 0; i < 25; i++) {
    WANT(mkdir("d"), 0);
    WANT(chdir("d"), 0);
    if (i % 5 == 0)
      put_file("f", 100 + i, i);
  }
  for (int i = 24; i >= 0; i--) {
    if (i % 5 == 0) {
      want_file("f", 100 + i, i);
      WANT(unlink("f"), 0);
    }
    WANT(chdir(".."), 0);
    WANT(unlink("d"), 0);
  }
}

static void three_letters(char *name, int i) {
  name[0] = 'n';
  name[1] = 'a' + i / 100 % 10;
  name[2] = 'a' + i / 10 % 10;
  name[3] = 'a' + i % 10;
  name[4] = 0;
}

// A directory of many blocks: every name is found, and gone ones are not. Their places are used again.
static void dir_large(void) {
  char name[5];
  touch("file");
  for (int i = 0; i < 300; i++) {
    three_letters(name, i);
    WANT(link("file", name), 0);
  }
  uint64 size = file_size(".");
  for (int i = 0; i < 300; i += 2) {
    three_letters(name, i);
    WANT(unlink(name), 0);
  }
  for (int i = 0; i < 300; i++) {
    three_letters(name, i);
    WANT(exists(name), i % 2);
  }
  for (int i = 300; i < 450; i++) {
    three_letters(name, i);
    WANT(link("file", name), 0);
  }
  WANT(file_size("."), size);
  for (int i = 1; i < 450; i++) {
    three_letters(name, i);
    if (i >= 300 || i % 2)
      WANT(unlink(name), 0);
  }
  WANT(unlink("file"), 0);
}

// The empty path names the current directory or nothing, never more.
static void path_empty(void) {
  FAILS(mkdir(""));
  FAILS(unlink(""));
  FAILS(link("", "x"));
  FAILS(mknod("", 1, 1));
  FAILS(open("", O_CREATE | O_RDWR));
  FAILS(open("", O_WRONLY));
  FAILS(exec("", 0));
}

const struct test dir_tests[] = {
    {"name_length", name_length, 0},
    {"path_forms", path_forms, 0},
    {"path_empty", path_empty, 0},
    {"dir_read", dir_read, 0},
    {"dir_links", dir_links, 0},
    {"remove_rules", remove_rules, 0},
    {"change_dir", change_dir, 0},
    {"removed_cwd", removed_cwd, 0},
    {"dir_deep", dir_deep, 0},
    {"dir_large", dir_large, 1},
    {0, 0, 0},
};
