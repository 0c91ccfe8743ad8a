// play_golden FILE …: plays golden packets (tests/golden/README.md). Exit code 1 if the program does not do what one of
// the files says.
#include <iostream>

#include "tests/golden/runner/script.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: play_golden FILE.golden …\n";
    return 2;
  }
  bool right = true;
  for (int i = 1; i < argc; ++i) {
    const std::string wrong = limpet::golden::play(argv[i]);
    std::cerr << wrong;
    right = right && wrong.empty();
  }
  return right ? 0 : 1;
}
