// Prints the configuration reference: `ninja config/isthmus-config-reference && config/isthmus-config-reference >
// config/schema/reference.md`. A test holds the file to it.
#include <cstdio>

#include "config/load/load.h"

int main() { return std::fputs(isthmus::config_reference().c_str(), stdout) < 0 ? 1 : 0; }
