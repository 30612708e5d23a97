// Pure parts of candidate selection: what the form's values mean, and when a person will be asked.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.selection) return;

    const NONE = 'none';

    /** "25% 50%" or "0.25, 0.5" as [0.25, 0.5]; what is no such list stays as it is, for the server to refuse with a sentence. */
    function shares(text) {
        const words = String(text).replace(/,/g, ' ').split(/\s+/).filter(Boolean);
        const found = words.map((word) => (word.endsWith('%') ? Number(word.slice(0, -1)) / 100 : Number(word)));
        return found.every(Number.isFinite) ? found : text;
    }

    /** The selection of a study from the form's values by name; null for plain runs. */
    function fromForm(values) {
        if (!values.policy || values.policy === NONE) return null;
        const selection = {};
        for (const [name, value] of Object.entries(values)) {
            if (value !== null && value !== undefined) selection[name] = value;
        }
        if (selection.scorer === NONE) selection.scorer = '';
        if (selection.at !== undefined) selection.at = shares(selection.at);
        return selection;
    }

    /** Does a study ask a person while this round is being made? */
    function asks(study, round) {
        const policy = study && study.settings && study.settings.selection && study.settings.selection.policy;
        return policy === 'human' && Boolean(round) && ['queued', 'generating'].includes(round.status);
    }

    /** What a key does in a choice: {pick: place}, {all: true}, {go: true}, {stop: true}, {move: direction} or null. */
    function key(command) {
        if (!command) return null;
        if (command.name === 'place') return command.place === 9 ? {all: true} : {pick: command.place};
        return {auto: {all: true}, confirm: {go: true}, escape: {stop: true}, move: {move: command.direction}}[command.name] || null;
    }

    ns.selection = {shares, fromForm, asks, key};
}());
