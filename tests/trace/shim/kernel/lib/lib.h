// The host's string functions.
#pragma once
#include <string.h>
