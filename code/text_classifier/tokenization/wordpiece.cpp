// BERT's tokenizer for texts in ASCII, as the tokenizers library has it: clean, lower, split at white space and around
// punctuation, then the longest pieces of the vocabulary from left to right. wordpiece.py calls these functions.

#include <stdint.h>
#include <string.h>

#include <vector>

namespace {

constexpr int32_t NONE = -1;

// The pieces by their characters: `next` is a hash table from a node and a character to a node.
class Trie {
public:
    explicit Trie(int64_t characters) {
        uint32_t size = 16;
        while (size < 2 * characters + 2) size *= 2;
        edges.resize(size, Edge{0, 0});
        mask = size - 1;
        ids.push_back(NONE);
    }

    void add(const char *token, int64_t length, int32_t id) {
        uint32_t node = 0;
        for (int64_t i = 0; i < length; i++) {
            Edge &edge = find(node, token[i]);
            if (!edge.node) edge = {key(node, token[i]), static_cast<uint32_t>(ids.size())}, ids.push_back(NONE);
            node = edge.node;
        }
        ids[node] = id;
    }

    // 0 where there is none: nothing leads to the root.
    uint32_t next(uint32_t node, char character) { return find(node, character).node; }

    std::vector<int32_t> ids;  // of the piece that ends at a node

private:
    struct Edge {
        uint32_t key, node;
    };

    static uint32_t key(uint32_t node, char character) { return node << 8 | static_cast<uint8_t>(character); }

    Edge &find(uint32_t node, char character) {
        const uint32_t wanted = key(node, character);
        uint32_t at = (wanted * 0x9e3779b1u) >> 7 & mask;
        while (edges[at].node && edges[at].key != wanted) at = (at + 1) & mask;
        return edges[at];
    }

    std::vector<Edge> edges;
    uint32_t mask;
};

struct Text {
    const char *start;
    int64_t length;
};

enum Kind : uint8_t { REMOVED, SPACE, PUNCTUATION, LETTER };

Kind kind_of(uint8_t c) {
    if (c == '\t' || c == '\n' || c == '\r' || c == ' ') return SPACE;
    if (c < ' ' || c == 127) return REMOVED;
    const bool is_plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return is_plain ? LETTER : PUNCTUATION;
}

struct Tokenizer {
    Trie pieces;
    std::vector<Text> added;
    bool begins_added[256] = {};
    Kind kinds[128];
    char letters[128];
    uint32_t inside;  // the node from which pieces inside a word begin
    int64_t longest_word;
    int32_t unknown, first, last;

    bool is_added(const char *text, int64_t left) const {
        for (const Text &token : added)
            if (token.length <= left && !memcmp(text, token.start, token.length)) return true;
        return false;
    }
};

// The ids of one text behind each other, at most `limit`.
class Row {
public:
    Row(Tokenizer &tokenizer, int32_t *ids, int64_t limit)
        : tokenizer(tokenizer), ids(ids), limit(limit), word(tokenizer.longest_word) {}

    // Returns the number of ids, or NONE for a text that is not served here.
    int64_t read(const char *text, int64_t length) {
        count = letters = 0;
        is_cut = false;
        for (int64_t i = 0; i < length && !is_cut; i++) {
            const uint8_t c = text[i];
            if (tokenizer.begins_added[c] && tokenizer.is_added(text + i, length - i)) return NONE;
            switch (tokenizer.kinds[c]) {
                case REMOVED:
                    break;
                case LETTER:
                    put(tokenizer.letters[c]);
                    break;
                case SPACE:
                    end_word();
                    break;
                case PUNCTUATION:
                    end_word(), put(c), end_word();
                    break;
            }
        }
        end_word();
        return count;
    }

    bool is_cut;

private:
    void put(char letter) {
        if (letters < tokenizer.longest_word) word[letters] = letter;
        letters++;
    }

    void end_word() {
        if (!letters) return;
        const int64_t before = count;
        if (letters > tokenizer.longest_word || !split()) {
            count = before;
            is_cut = false;
            add(tokenizer.unknown);
        }
        letters = 0;
    }

    // The longest piece, then the longest behind it, and so on. False when the word is not made of pieces.
    bool split() {
        for (int64_t start = 0; start < letters;) {
            uint32_t node = start ? tokenizer.inside : 0;
            int64_t end = start;
            int32_t id = NONE;
            for (int64_t i = start; i < letters && (node = tokenizer.pieces.next(node, word[i])); i++)
                if (tokenizer.pieces.ids[node] != NONE) id = tokenizer.pieces.ids[node], end = i + 1;
            if (id == NONE) return false;
            add(id);
            start = end;
        }
        return true;
    }

    void add(int32_t id) {
        if (count < limit)
            ids[count++] = id;
        else
            is_cut = true;
    }

    Tokenizer &tokenizer;
    int32_t *ids;
    int64_t limit, count, letters;
    std::vector<char> word;
};

}  // namespace

extern "C" {

// Tokens stand behind each other in `characters` and begin at `starts`, [count + 1]; those behind the first `pieces`
// are the added ones. `inside` is what pieces inside a word begin with.
void *make_tokenizer(const char *characters, const int64_t *starts, const int32_t *ids, int64_t pieces, int64_t count,
                     const char *inside, int64_t longest_word, int64_t lowers, int64_t unknown, int64_t first,
                     int64_t last) {
    auto *made = new Tokenizer{Trie(starts[pieces] + strlen(inside))};
    for (int64_t i = 0; i < pieces; i++) made->pieces.add(characters + starts[i], starts[i + 1] - starts[i], ids[i]);
    for (int64_t i = pieces; i < count; i++) {
        made->added.push_back({characters + starts[i], starts[i + 1] - starts[i]});
        made->begins_added[static_cast<uint8_t>(characters[starts[i]])] = true;
    }
    for (int c = 0; c < 128; c++) {
        made->kinds[c] = kind_of(c);
        made->letters[c] = lowers && c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
    }
    made->inside = 0;
    for (; *inside; inside++) {
        made->inside = made->pieces.next(made->inside, *inside);
        if (!made->inside) break;  // there are none
    }
    made->longest_word = longest_word;
    made->unknown = unknown, made->first = first, made->last = last;
    return made;
}

// ids: [rows, length], of each text in `characters`, the first and the last one of a sequence too. counts: how many
// they are, or -1 for a text that is not served here. cut: whether there were more.
void encode(void *tokenizer, const char *characters, const int64_t *starts, int64_t rows, int64_t length, int32_t *ids,
            int32_t *counts, uint8_t *cut) {
    Tokenizer &own = *static_cast<Tokenizer *>(tokenizer);
    for (int64_t row = 0; row < rows; row++) {
        int32_t *to = ids + row * length;
        Row reader(own, to + 1, length - 2);
        const int64_t count = reader.read(characters + starts[row], starts[row + 1] - starts[row]);
        cut[row] = reader.is_cut;
        counts[row] = count == NONE ? NONE : count + 2;
        if (count == NONE) continue;
        to[0] = own.first;
        to[count + 1] = own.last;
    }
}

void delete_tokenizer(void *tokenizer) { delete static_cast<Tokenizer *>(tokenizer); }

}  // extern "C"
