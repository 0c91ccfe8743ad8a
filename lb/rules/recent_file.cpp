#include "lb/rules/recent_file.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>
#include <utility>

namespace limpet::rules {
namespace {

/// One line, taken apart from the left. Once something did not fit, nothing does.
class Words {
 public:
  explicit Words(std::string_view line) : rest_(line) {}

  bool word(std::string_view expected) {
    if (!rest_.starts_with(expected)) return false;
    rest_.remove_prefix(expected.size());
    return true;
  }
  template <typename Number>
  bool number(Number& value) {
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc()) return false;
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return true;
  }
  bool address(net::Address& value) {
    const std::string_view text = rest_.substr(0, rest_.find(' '));
    const auto parsed = net::Address::parse(text);
    if (!parsed) return false;
    value = *parsed;
    rest_.remove_prefix(text.size());
    return true;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

/// "4295738607, 4295738616": is the newest one, `last_seen`, among them?
bool read_stamps(Words& words, RecentEntry& entry) {
  bool seen = false;
  do {
    std::uint64_t stamp = 0;
    if (!words.number(stamp)) return false;
    seen = seen || stamp == entry.last_seen;
    ++entry.stamps;
  } while (words.word(", "));
  return seen && words.rest().empty();
}

std::optional<RecentEntry> parse_line(std::string_view line) {
  RecentEntry entry;
  std::uint32_t next_slot = 0;
  Words words(line);
  const bool head = words.word("src=") && words.address(entry.source) && words.word(" ttl: ") &&
                    words.number(entry.ttl) && words.word(" last_seen: ") && words.number(entry.last_seen) &&
                    words.word(" oldest_pkt: ") && words.number(next_slot) && words.word(" ");
  if (!head || !read_stamps(words, entry)) return std::nullopt;
  return entry;
}

/// nullopt: it is not there (any more).
std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return file.bad() ? std::nullopt : std::optional(std::move(text));
}

store::Error cannot_read(const std::filesystem::path& folder, const std::error_code& error) {
  const bool denied = error == std::errc::permission_denied;
  return {denied ? store::ErrorKind::permission : store::ErrorKind::unavailable,
          folder.string() + ": " + error.message() +
              (denied ? "; run as root"
                      : "; it is there only in the network namespace where rules with `-m recent` stand")};
}

}  // namespace

RecentList parse_recent(std::string name, std::string_view text, const std::string& file) {
  RecentList list{.name = std::move(name), .entries = {}, .errors = {}};
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (const auto entry = parse_line(line)) {
      list.entries.push_back(*entry);
    } else {
      list.errors.push_back({file, number,
                             "'" + std::string(line) +
                                 "' is not what xt_recent writes (src=IP ttl: N last_seen: N oldest_pkt: N N, …); "
                                 "if this kernel writes it, please report the line"});
    }
  }
  return list;
}

store::Result<std::vector<RecentList>> read_recent(const std::filesystem::path& folder, std::string_view prefix) {
  std::error_code error;
  std::vector<std::string> names;
  std::filesystem::directory_iterator file(folder, error);
  for (; !error && file != std::filesystem::directory_iterator(); file.increment(error)) {
    std::string name = file->path().filename().string();
    if (name.starts_with(prefix)) names.push_back(std::move(name));
  }
  if (error) return cannot_read(folder, error);
  std::sort(names.begin(), names.end());
  std::vector<RecentList> lists;
  for (std::string& name : names) {
    const std::filesystem::path path = folder / name;
    if (const auto text = read_file(path)) lists.push_back(parse_recent(std::move(name), *text, path.string()));
  }
  return lists;
}

}  // namespace limpet::rules
