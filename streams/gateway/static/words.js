// All texts of the pages, in English and French.

const WORDS = {
  en: {
    skip: "Skip to content", polls: "Polls", laws: "Laws", elections: "Elections", operators: "Operators",
    newPoll: "New poll", theme: "Change colours", language: "Français", search: "Search polls", find: "Find",
    all: "All", active: "Open", closed: "Closed", upcoming: "Upcoming", show: "Show", more: "Show more",
    none: "No poll yet. Be the first to ask something.", noneFound: "Nothing found.", by: (n) => `by ${n}`,
    ends: (t) => `ends ${t}`, ended: (t) => `ended ${t}`, opens: (t) => `opens ${t}`, voted: "Voted",
    votes: (n) => `${fmt(n)} ${n === 1 ? "vote" : "votes"}`, yourName: "Your name",
    nameHint: "Everybody may vote once by name.", hash: "Your voter hash", hashHint: "As it is on the roll.",
    apiKey: "Your API key", choose: "Your choice", vote: "Vote", voting: "Sending…", pending: "Your vote is confirmed and is being counted…",
    late: "Your vote is confirmed, but not counted yet. Look again later.",
    counted: "Your vote is counted.", duplicate: "You had voted before; your first vote counts.",
    invalid: "Your vote does not count:", results: "Results", live: "Live", offline: "Reconnecting…",
    waiting: "Waiting for the figures…", stale: "Not live", updated: (t) => `last updated ${t}`, figuresOf: (t) => `figures of ${t}`, listedAt: (t) => `Figures of ${t}.`,
    turnout: "Votes over time", turnoutText: (n, a, b) => `${t("votes", n)} from ${a} to ${b}`, noTurnout: "Nothing to show yet.",
    share: "Copy link", shared: "The link is copied.", final: "Final result", counting: "Closed; the last votes are being counted.",
    stateDraft: "Voting has not begun.", stateOpen: "Voting is open; the figures change.", stateOpenUntil: (t) => `Voting is open until ${t}; the figures change.`,
    stateNotEnforced: "The closing time has passed, but closing is not enforced here: votes still count, and no result is final.",
    stateUnknown: "This vote was not announced here: it has no closing and no final result.",
    proof: "Proof of completeness", proofText: "Each partition of the log closed at the offset below. Every vote before it is counted, none behind it. Anyone with the log can check.",
    partition: "Partition", logId: "Log", offset: "Closing offset", create: "Create a poll", title: "Question", description: "Description",
    creator: "Your name", options: "Options", option: (n) => `Option ${n}`, addOption: "Add an option", end: "Closes at", who: "Who may vote",
    whoName: "Anybody, by name", whoCookie: "Anybody, one vote per browser", whoKey: "Holders of an API key", whoRoll: "Voters on the roll",
    createDo: "Create", created: "The poll is open.", errorTitle: "That did not work.", required: "Please choose one option.",
    notOpen: "This poll has not opened yet.", law: "Law", oui: "For", non: "Against", adopted: "Adopted as it stands", rejected: "Rejected as it stands",
    tie: "Tie", noVotes: "No votes yet", national: "All regions", noLaws: "No law has votes yet.", noElections: "No election has votes yet.",
    rate: "Votes per second", latency: "Latency", lag: "Waiting", reasons: "Not counted, by reason", workers: "Workers", partitions: "Partitions", status: "Status", reason: "Reason", count: "Count", worker: "Worker", since: "Since", queue: "Queue", ready: "Waiting", applied: "Counted to", end2: "Log end", behind: "Behind", perMinute: "last minute", median: "median", p99: "99th percentile",
    notFound: "There is no such page.", noLaw: "No such law is known here. A law is shown once it is announced or has a vote.", noElection: "No such election is known here.", noTally: "No such encrypted election is known here.", back: "Back to the polls", archived: "This poll does not exist any more.", votes2: "Votes", share2: "Share", choice: "Choice", yourVote: "your vote", lead: "leading", most: "most votes", elected: "elected",
    parties: "Parties", party: "Party", seats: "Seats", leadsIn: "Leads in", noParty: "none", byRegion: "By region", tiedNames: (names) => `Tied: ${names}.`, uncountable: (n) => `${t("votes", n)} for nobody who stands.`,
    rankedNote: "Ranked choice: the bars are the votes of the last round. First choices are not the result.", firstChoices: "First choices only.", rounds: "All rounds", round: (n) => `Round ${n}`, exhausted: "exhausted", outIn: (n) => `out in round ${n}`,
    countedAt: (t) => `Counted at ${t}.`, moreVotes: (n) => `${t("votes", n)} more in the next count.`,
    seedOf: (seed, commitment) => `Seed of the lots: ${seed} (SHA-256 ${commitment}).`, notRevealed: "not revealed yet",
    hiddenNote: "The result is shown once voting has closed.", blanks: (n) => `${fmt(n)} blank.`, turnoutOf: (n, all, share) => `Turnout: ${fmt(n)} of ${fmt(all)} voters, ${share}.`,
    noLonger: (name, reason) => `${name}: ${reason}.`, withdrawnVotes: (n) => `${t("votes", n)} for candidates who do not stand any more.`,
    out_seat_vacant: (names) => `The seat stays vacant: ${names} does not stand any more.`, out_lot_needed: (names) => `A lot must be drawn between ${names}.`,
    out_seed_needed: (names) => `The lot decides between ${names} once its seed is revealed.`, out_quorum_not_reached: () => "The quorum is not reached: nobody is elected.",
    out_eligible_voters_needed: () => "Nobody is elected before the number of voters is known.",
    tallies: "Encrypted", noTallies: "No encrypted election yet.", jobs: "Work", notTallied: "The tally was not asked for yet.", guardian: "Guardian", guardians: "Guardians", took: "Decrypted", yes: "Yes", no: "No",
    standsIn: (a, b) => `${a} for ${b}`, tallied: (n, s) => `Published: ${fmt(n)} ballots counted, ${fmt(s)} spoiled.`, checkIt: "Anybody can check the exported record: ", ballotsHead: "Head of the ballots, which every guardian must see too: ",
    ballot: "Ballot", ballotStyle: "Kind of ballot", fillIn: "Fill in a ballot", encrypt: "Encrypt", encrypting: "Encrypting on this device…", nobody: "Nobody", atMost: (n) => `at most ${fmt(n)}`,
    needsHttps: "This page encrypts with the browser's cryptography, which browsers offer over HTTPS only.", tooLong: "The ballot is longer than this gateway takes (SCRUTIN_MAX_BODY_BYTES).",
    tracking: "Your tracking code", trackingText: "Write it down or print it before you go on. Your ballot is fixed now: this device cannot change it without another code.", print: "Print",
    cast: "Cast it", castText: "The ballot is sent encrypted. Nobody learns what it holds unless as many guardians as the quorum open it.", castIt: "Cast the ballot", nas: "Number (NAS)", voterCode: "Code",
    challenge: "Or challenge it", challengeText: "This device could have encrypted another choice. A challenge opens the ballot, so that you can check it on another device. An opened ballot is not counted; you then make a new one.", challengeIt: "Challenge the ballot",
    challenged: "Opened ballot", spent: "This ballot is opened and will not be counted.", opened: "This device says that it holds: ", download: "Download the opened ballot", checkOpened: "Check it on another device, with the election's definition from the record or from /api/tallies/…/definition. What it prints must be what you chose:",
    another: "Make a new ballot", lookFor: "Look for your tracking code in the published record.",
    unaudited: "The proofs show that the published ballots were counted correctly. They do not show who decrypted what besides: as many guardians as the quorum could together open any single ballot, and nobody would notice. The cryptography has not been audited by others.",
    op_TALLY: "Multiply ballots", op_DECRYPTION: "Shares", op_COMPENSATED_DECRYPTION: "Shares for an absent guardian", op_COMBINE: "Check shares and decrypt",
    job_not_started: "Not begun", job_queued: "Queued", job_in_progress: "Under way", job_completed: "Complete", job_failed: "Failed", job_cancelled: "Cancelled", job_published: "Published",
  },
  fr: {
    skip: "Aller au contenu", polls: "Sondages", laws: "Lois", elections: "Élections", operators: "Exploitation",
    newPoll: "Nouveau sondage", theme: "Changer les couleurs", language: "English", search: "Chercher un sondage", find: "Chercher",
    all: "Tous", active: "Ouverts", closed: "Clos", upcoming: "À venir", show: "Afficher", more: "Afficher plus",
    none: "Aucun sondage. Posez la première question.", noneFound: "Aucun résultat.", by: (n) => `par ${n}`,
    ends: (t) => `se termine le ${t}`, ended: (t) => `terminé le ${t}`, opens: (t) => `ouvre le ${t}`, voted: "A voté",
    votes: (n) => `${fmt(n)} ${n < 2 ? "vote" : "votes"}`, yourName: "Votre nom",
    nameHint: "Chacun vote une fois, sous son nom.", hash: "Votre empreinte d’électeur", hashHint: "Telle qu’elle figure sur la liste.",
    apiKey: "Votre clé d’API", choose: "Votre choix", vote: "Voter", voting: "Envoi…", pending: "Votre vote est confirmé, le décompte est en cours…",
    late: "Votre vote est confirmé, mais pas encore compté. Revenez plus tard.",
    counted: "Votre vote est compté.", duplicate: "Vous aviez déjà voté ; le premier vote compte.",
    invalid: "Votre vote ne compte pas :", results: "Résultats", live: "En direct", offline: "Reconnexion…",
    waiting: "En attente des chiffres…", stale: "Pas en direct", updated: (t) => `mis à jour à ${t}`, figuresOf: (t) => `chiffres de ${t}`, listedAt: (t) => `Chiffres de ${t}.`,
    turnout: "Votes au fil du temps", turnoutText: (n, a, b) => `${t("votes", n)} du ${a} au ${b}`, noTurnout: "Rien à montrer pour l’instant.",
    share: "Copier le lien", shared: "Le lien est copié.", final: "Résultat définitif", counting: "Clos ; les derniers votes sont en cours de décompte.",
    stateDraft: "Le vote n’est pas encore ouvert.", stateOpen: "Le vote est ouvert ; les chiffres changent.", stateOpenUntil: (t) => `Le vote est ouvert jusqu’au ${t} ; les chiffres changent.`,
    stateNotEnforced: "L’heure de clôture est passée, mais la clôture ne s’applique pas ici : les votes comptent encore, et aucun résultat n’est définitif.",
    stateUnknown: "Ce vote n’a pas été annoncé ici : il n’a ni clôture ni résultat définitif.",
    proof: "Preuve d’exhaustivité", proofText: "Chaque partition du journal s’est close à la position ci-dessous. Tout vote antérieur est compté, aucun vote postérieur. Quiconque a le journal peut le vérifier.",
    partition: "Partition", logId: "Journal", offset: "Position de clôture", create: "Créer un sondage", title: "Question", description: "Description",
    creator: "Votre nom", options: "Réponses", option: (n) => `Réponse ${n}`, addOption: "Ajouter une réponse", end: "Clôture", who: "Qui peut voter",
    whoName: "Tout le monde, sous un nom", whoCookie: "Tout le monde, un vote par navigateur", whoKey: "Titulaires d’une clé d’API", whoRoll: "Inscrits sur la liste",
    createDo: "Créer", created: "Le sondage est ouvert.", errorTitle: "Cela n’a pas fonctionné.", required: "Choisissez une réponse.",
    notOpen: "Ce sondage n’est pas encore ouvert.", law: "Loi", oui: "Pour", non: "Contre", adopted: "Adoptée en l’état", rejected: "Rejetée en l’état",
    tie: "Égalité", noVotes: "Aucun vote", national: "Toutes les régions", noLaws: "Aucune loi n’a reçu de vote.", noElections: "Aucune élection n’a reçu de vote.",
    rate: "Votes par seconde", latency: "Latence", lag: "En attente", reasons: "Non comptés, par motif", workers: "Ouvriers", partitions: "Partitions", status: "Statut", reason: "Motif", count: "Nombre", worker: "Ouvrier", since: "Depuis", queue: "File", ready: "En attente", applied: "Compté jusqu’à", end2: "Fin du journal", behind: "Retard", perMinute: "dernière minute", median: "médiane", p99: "99e centile",
    notFound: "Cette page n’existe pas.", noLaw: "Aucune loi de ce nom n’est connue ici. Une loi apparaît une fois annoncée ou votée.", noElection: "Aucune élection de ce nom n’est connue ici.", noTally: "Aucune élection chiffrée de ce nom n’est connue ici.", back: "Retour aux sondages", archived: "Ce sondage n’existe plus.", votes2: "Votes", share2: "Part", choice: "Choix", yourVote: "votre vote", lead: "en tête", most: "le plus de votes", elected: "élu",
    parties: "Partis", party: "Parti", seats: "Sièges", leadsIn: "En tête dans", noParty: "aucun", byRegion: "Par région", tiedNames: (names) => `À égalité : ${names}.`, uncountable: (n) => `${t("votes", n)} pour personne qui se présente.`,
    rankedNote: "Vote préférentiel : les barres sont les voix du dernier tour. Les premiers choix ne sont pas le résultat.", firstChoices: "Premiers choix seulement.", rounds: "Tous les tours", round: (n) => `Tour ${n}`, exhausted: "épuisés", outIn: (n) => `éliminé au tour ${n}`,
    countedAt: (t) => `Compté à ${t}.`, moreVotes: (n) => `${t("votes", n)} de plus au prochain décompte.`,
    seedOf: (seed, commitment) => `Graine des tirages : ${seed} (SHA-256 ${commitment}).`, notRevealed: "pas encore révélée",
    hiddenNote: "Le résultat sera affiché après la clôture du vote.", blanks: (n) => `${fmt(n)} blancs.`, turnoutOf: (n, all, share) => `Participation : ${fmt(n)} sur ${fmt(all)} inscrits, ${share}.`,
    noLonger: (name, reason) => `${name} : ${reason}.`, withdrawnVotes: (n) => `${t("votes", n)} pour des candidats qui ne se présentent plus.`,
    out_seat_vacant: (names) => `Le siège reste vacant : ${names} ne se présente plus.`, out_lot_needed: (names) => `Un tirage au sort doit départager ${names}.`,
    out_seed_needed: (names) => `Le tirage au sort départagera ${names} dès que sa graine sera révélée.`, out_quorum_not_reached: () => "Le quorum n’est pas atteint : personne n’est élu.",
    out_eligible_voters_needed: () => "Personne n’est élu avant que le nombre d’inscrits soit connu.",
    tallies: "Chiffrées", noTallies: "Aucune élection chiffrée.", jobs: "Travaux", notTallied: "Le dépouillement n’est pas encore demandé.", guardian: "Gardien", guardians: "Gardiens", took: "A déchiffré", yes: "Oui", no: "Non",
    standsIn: (a, b) => `${a} pour ${b}`, tallied: (n, s) => `Publié : ${fmt(n)} bulletins comptés, ${fmt(s)} annulés.`, checkIt: "Chacun peut vérifier le dossier exporté : ", ballotsHead: "Empreinte des bulletins, que chaque gardien doit voir aussi : ",
    ballot: "Bulletin", ballotStyle: "Type de bulletin", fillIn: "Remplir un bulletin", encrypt: "Chiffrer", encrypting: "Chiffrement sur cet appareil…", nobody: "Personne", atMost: (n) => `au plus ${fmt(n)}`,
    needsHttps: "Cette page chiffre avec la cryptographie du navigateur, offerte seulement en HTTPS.", tooLong: "Le bulletin est plus long que ce que cette passerelle accepte (SCRUTIN_MAX_BODY_BYTES).",
    tracking: "Votre code de suivi", trackingText: "Notez-le ou imprimez-le avant de continuer. Votre bulletin est fixé : cet appareil ne peut plus le changer sans un autre code.", print: "Imprimer",
    cast: "Le déposer", castText: "Le bulletin est envoyé chiffré. Personne n’apprend son contenu, sauf si des gardiens en nombre suffisant pour le quorum l’ouvrent.", castIt: "Déposer le bulletin", nas: "Numéro (NAS)", voterCode: "Code",
    challenge: "Ou le contester", challengeText: "Cet appareil a pu chiffrer un autre choix. Une contestation ouvre le bulletin, pour que vous le vérifiiez sur un autre appareil. Un bulletin ouvert n’est pas compté ; vous en faites ensuite un nouveau.", challengeIt: "Contester le bulletin",
    challenged: "Bulletin ouvert", spent: "Ce bulletin est ouvert et ne sera pas compté.", opened: "Selon cet appareil, il contient : ", download: "Télécharger le bulletin ouvert", checkOpened: "Vérifiez-le sur un autre appareil, avec la définition de l’élection prise du dossier ou de /api/tallies/…/definition. Le résultat doit être votre choix :",
    another: "Faire un nouveau bulletin", lookFor: "Cherchez votre code de suivi dans le dossier publié.",
    unaudited: "Les preuves montrent que les bulletins publiés sont comptés correctement. Elles ne montrent pas ce qui a été déchiffré en plus : des gardiens en nombre suffisant pour le quorum pourraient ensemble ouvrir n’importe quel bulletin, sans que personne ne le remarque. La cryptographie n’a pas été auditée par des tiers.",
    op_TALLY: "Multiplier les bulletins", op_DECRYPTION: "Parts", op_COMPENSATED_DECRYPTION: "Parts d’un gardien absent", op_COMBINE: "Vérifier les parts et déchiffrer",
    job_not_started: "Pas commencé", job_queued: "En attente", job_in_progress: "En cours", job_completed: "Terminé", job_failed: "Échoué", job_cancelled: "Arrêté", job_published: "Publié",
  },
};

const stored = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
export const keep = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private mode */ } };
export const kept = stored;

export let language = stored("language") || (navigator.language.startsWith("fr") ? "fr" : "en");

export function setLanguage(next) {
  language = next;
  keep("language", next);
  document.documentElement.lang = next;
}

export function t(key, ...given) {
  const word = WORDS[language][key];
  return typeof word === "function" ? word(...given) : word;
}

export function fmt(number, digits = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(number);
}

export function percent(part, whole) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format(whole ? part / whole : 0);
}

export function clock(ms) {
  return new Intl.DateTimeFormat(language, { timeStyle: "medium" }).format(ms);
}

export function when(iso, seconds = false) {
  const style = { dateStyle: "medium", timeStyle: seconds ? "medium" : "short" };
  return new Intl.DateTimeFormat(language, style).format(new Date(iso));
}
